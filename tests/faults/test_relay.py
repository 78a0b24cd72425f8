"""A relay that is away, hangs, or refuses everybody: signups go on, mails wait, nothing is lost."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from zlib import crc32

import pytest

from tests.faults.operator import metric, relay_readiness, replies, retry_failed
from tests.faults.world import Verdict, World
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.processes import Process
from tests.support.relay import HANG, Answer, Envelope, ScriptedRelay

ALLOWED = 10  # connections to the relay, the default


async def paused(service: Process) -> bool:
    return await metric(service, "relay_paused") == 1


def times_reported(service: Process) -> int:
    """How often the log called for somebody."""
    return service.log.count('"relay.paused"')


@contextmanager
def black_hole(port: int) -> Iterator[None]:
    """Nothing that is sent there is ever answered, because the line of those who wait is full."""
    with socket.socket() as deaf, socket.socket() as first:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        deaf.bind(("127.0.0.1", port))
        deaf.listen(0)
        first.connect(("127.0.0.1", port))
        yield


async def test_f01_mails_wait_for_a_relay_that_is_down_and_go_by_the_ramp(
    world: World, verdict: Verdict, calm: float
) -> None:
    seen: list[tuple[int, int]] = []

    async def watch(*_: object) -> None:
        seen.append((world.relay.connections, len(world.relay.accepted)))

    await world.relay.stop()
    world.relay.on_stage = watch
    service = await world.serve()
    await world.signups(service, 500)
    assert await paused(service)
    assert await metric(service, "welcome_emails_pending") == 500

    await world.relay.start()

    await world.settled()
    assert all(connections <= 2**accepted for connections, accepted in seen)
    assert world.relay.most_connections <= ALLOWED
    assert set(world.relay.recipients.values()) == {1}
    early = set(list(world.answers.confirmed)[:300])
    assert sum(envelope.recipient in early for envelope in world.relay.accepted[:250]) > 200
    assert (await verdict(world, "F1", "the relay is down from the start, then up")).p99_ms < calm * 1000


async def test_f02_a_relay_whose_name_is_unknown_is_named_once(
    world: World, verdict: Verdict, calm: float
) -> None:
    service = await world.serve(SMTP_HOST="no-such-relay", SMTP_PORT=world.relay.port)

    await world.signups(service, 100)

    await eventually(lambda: paused(service), within=15)
    assert "no-such-relay" in await relay_readiness(service)
    assert await replies(world, "failed") == []
    assert times_reported(service) == 1
    service.signal(signal.SIGTERM)
    await service.ended()
    await world.serve()  # with the name fixed
    await world.settled()
    assert (await verdict(world, "F2", "the relay's name is unknown, then fixed")).p99_ms < calm * 1000


@pytest.mark.parametrize("greeting", ["421 too busy", pytest.param("554 no service", marks=pytest.mark.long)])
async def test_f03_a_greeting_that_refuses_pauses_and_fails_nothing(
    world: World, verdict: Verdict, greeting: str
) -> None:
    world.relay.answers["greeting"] = greeting
    service = await world.serve()
    await world.signups(service, 50)
    await eventually(lambda: paused(service))
    assert greeting in await relay_readiness(service)
    assert await replies(world, "failed") == []

    del world.relay.answers["greeting"]

    await world.settled()
    assert set(world.relay.recipients.values()) == {1}
    await verdict(world, "F3", f"the relay greets with {greeting[:3]}")


async def test_f04_a_greeting_that_hangs_occupies_one_connection_once_paused(
    world: World, verdict: Verdict, calm: float, long: bool
) -> None:
    await world.relay.stop()
    service = await world.serve()
    await world.signup(service)
    await eventually(lambda: paused(service))
    world.relay.answers["greeting"] = HANG
    world.relay.most_connections = 0
    await world.relay.start()
    await eventually(lambda: world.relay.connections, within=20)

    async with world.load(service, clients=4):
        await asyncio.sleep(60 if long else 1)

    assert world.relay.most_connections == 1
    await world.relay.stop()
    del world.relay.answers["greeting"]
    await world.relay.start()
    await world.settled()
    assert (await verdict(world, "F4", "the relay's greeting hangs")).p99_ms < calm * 1000


@pytest.mark.long
async def test_f04_connections_that_hang_are_cut_by_the_deadline(world: World, verdict: Verdict) -> None:
    world.relay.answers["greeting"] = HANG
    service = await world.serve()
    await world.signups(service, 30)
    assert world.relay.most_connections == ALLOWED

    await eventually(lambda: paused(service), within=15)
    del world.relay.answers["greeting"]

    await world.settled()
    await verdict(world, "F4", "ten greetings hang until the deadline")


REFUSALS_OF_EVERYBODY = [
    ("F10", "mail", "550 5.7.1 this sender may not", 0),
    ("F10", "auth", "535 5.7.8 wrong password", 0),
    ("F11", "auth", "454 4.7.0 temporarily out", 0),
    ("F10", "rcpt", "550 5.7.1 relaying denied", 0),
    ("F101", "rcpt", "454 4.7.1 Relay access denied", 0),
    ("F10", "rcpt", "550 no such user", 10),
]


@pytest.mark.parametrize(("fault", "stage", "answer", "most_failed"), REFUSALS_OF_EVERYBODY)
async def test_f10_a_relay_that_refuses_everybody_costs_ten_emails_at_most(
    world: World, verdict: Verdict, long: bool, fault: str, stage: str, answer: str, most_failed: int
) -> None:
    world.relay.answers |= {"ehlo": "250-relay\r\n250 AUTH PLAIN", "auth": "235 2.7.0 welcome", stage: answer}
    if not long:
        world.constants |= {
            "service.mail.connection.CREDENTIALS_PAUSE": 1.0,
            "service.delivery.circuit_breaker.REPORT_DOUBT_AFTER": 0.5,
        }
    service = await world.serve(SMTP_USERNAME="ada", SMTP_PASSWORD="engine")
    await world.signups(service, 60)
    await eventually(lambda: paused(service))
    await asyncio.sleep(120 if long else 0)  # until the pauses are at their longest
    await eventually(lambda: times_reported(service) == 1, within=20)

    world.relay.answers |= {"auth": "235 2.7.0 welcome", "mail": "250 ok", "rcpt": "250 ok"}
    await world.settled()
    failed = await replies(world, "failed")
    if failed:
        await retry_failed(world)

    await world.settled()
    assert len(failed) <= most_failed
    assert set(failed) <= {answer}
    assert len(world.relay.accepted) == 60
    await verdict(world, fault, f"{stage} {answer} for everybody: {len(failed)} failed, then retried")


async def test_f98_words_in_another_encoding_are_shown_as_far_as_they_can_be(
    world: World, verdict: Verdict
) -> None:
    world.relay.encoding = "gbk"
    world.relay.answers["mail"] = "550 \u53d1\u4ef6\u4eba\u65e0\u6548"
    service = await world.serve()
    await world.signups(service, 5)
    await eventually(lambda: paused(service))

    assert "550 \ufffd" in await relay_readiness(service)

    del world.relay.answers["mail"]
    await world.settled()
    await verdict(world, "F98", "the relay's words are not UTF-8")


async def test_f103_a_relay_that_takes_two_connections_is_given_two(world: World, verdict: Verdict) -> None:
    world.relay.answers["greeting"] = lambda _: (
        "421 4.7.0 too many connections" if world.relay.connections > 2 else "220 ready"
    )
    world.relay.delays["dot"] = 0.02
    service = await world.serve()

    await world.signups(service, 100)

    await world.settled()
    assert set(world.relay.recipients.values()) == {1}
    assert service.log.count('"relay.connections_limited"') == 1
    assert times_reported(service) == 0
    await verdict(world, "F103", "the relay takes two connections, and says 421 to more")


async def test_f102_a_refused_recipient_costs_no_connection(world: World, verdict: Verdict) -> None:
    unknown = "550 5.1.1 no such user"
    a_minute = 20
    world.relay.answers["greeting"] = lambda _: (
        "421 4.7.0 too many connections" if world.relay.stages["greeting"] > a_minute else "220 ready"
    )
    world.relay.answers["rcpt"] = lambda envelope: (
        unknown if crc32(envelope.recipient.encode()) % 3 == 0 else "250 ok"
    )
    service = await world.serve()

    await world.signups(service, 200)

    await world.settled()
    refused = await replies(world, "failed")
    assert len(refused) + len(world.relay.accepted) == 200
    assert set(refused) == {unknown}
    assert len(refused) > 30
    opened = world.relay.stages["greeting"]
    assert opened <= a_minute  # a few more than are used at once: many refusals in a row end one
    assert times_reported(service) == 0
    service.signal(signal.SIGTERM)
    await service.ended()
    assert world.relay.stages["quit"] == opened  # RFC 5321, section 4.1.1.10
    await verdict(world, "F102", f"{len(refused)} of 200 recipients unknown, on {opened} connections")


async def test_f20_a_relay_that_restarts_in_the_middle_is_connected_to_anew(
    world: World, verdict: Verdict
) -> None:
    stages = ("mail", "rcpt", "data", "dot")
    restarts = dict.fromkeys(stages, "421 4.3.2 restarting")

    def restarting_once(stage: str) -> Answer:
        def answer(_: Envelope) -> str:
            recovered = len(world.relay.accepted) >= 4 * (len(stages) - len(restarts))
            normal = ScriptedRelay.NORMAL[stage]
            return restarts.pop(stage, normal) if recovered else normal

        return answer

    world.relay.answers |= {stage: restarting_once(stage) for stage in stages}
    service = await world.serve()

    await world.signups(service, 20)

    await world.settled()
    assert not restarts
    assert set(world.relay.recipients.values()) == {1}
    await verdict(world, "F20", "421 in the middle of the session, at every stage")


async def test_f23_a_relay_that_limits_the_rate_is_given_less(world: World, verdict: Verdict) -> None:
    loop = asyncio.get_running_loop()
    asked: list[float] = []

    def limited(_: Envelope) -> str:
        """Takes 15 messages, and no more until three seconds after the first of them."""
        asked.append(loop.time())
        window = int((asked[-1] - asked[0]) / 3)
        in_window = sum(int((moment - asked[0]) / 3) == window for moment in asked)
        return "421 4.7.0 too many messages" if in_window > 15 else "250 ok"

    world.relay.answers["mail"] = limited
    service = await world.serve()

    await world.signups(service, 25)

    await world.settled()
    assert set(world.relay.recipients.values()) == {1}
    asked_in_vain = len(asked) - 25
    assert asked_in_vain < 40  # a service that does not pause asks 60 times
    await verdict(world, "F23", f"15 messages in three seconds; 25 cost {asked_in_vain} refusals")


async def test_f24_a_connection_that_died_idle_costs_no_attempt(world: World, verdict: Verdict) -> None:
    service = await world.serve()
    await world.signups(service, 10)
    await eventually(lambda: len(world.relay.accepted) == 10)
    await world.relay.stop()
    await world.relay.start()

    await world.signups(service, 10)

    await world.settled()
    assert not times_reported(service)
    assert {row["attempt"] for row in await rows(world.database, "SELECT attempt FROM outbox")} == {1}
    await verdict(world, "F24", "pooled connections die idle")


async def test_f26_a_network_that_swallows_everything_stops_nobody(
    world: World, verdict: Verdict, calm: float, long: bool
) -> None:
    await world.relay.stop()
    with black_hole(world.relay.port):
        service = await world.serve()
        await world.signups(service, 100)
        if long:
            await eventually(lambda: paused(service), within=15)
            assert f"127.0.0.1:{world.relay.port} did not answer" in await relay_readiness(service)
            await asyncio.sleep(180)
        assert await metric(service, "welcome_emails_pending") == 100

    await world.relay.start()

    await world.settled()
    assert set(world.relay.recipients.values()) == {1}
    assert (await verdict(world, "F26", "packets to the relay are dropped")).p99_ms < calm * 1000
