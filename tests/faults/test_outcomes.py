"""What a relay says to one email, and what becomes of it when nobody knows what was said."""

import asyncio
import signal

import pytest

from service.database.engine import Database
from tests.faults.operator import metric, replies
from tests.faults.world import Verdict, World
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.proxy import Proxy
from tests.support.relay import DROP, HANG, Envelope


async def give_up_at_the_next_refusal(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.exec_driver_sql("UPDATE outbox SET give_up_at = created_at WHERE status = 'pending'")


async def test_f07_a_relay_that_greylists_gets_each_mail_after_its_window(
    world: World, verdict: Verdict, long: bool
) -> None:
    loop, window = asyncio.get_running_loop(), 300 if long else 0.4
    first_seen: dict[str, float] = {}

    def greylisting(envelope: Envelope) -> str:
        waited = loop.time() - first_seen.setdefault(envelope.recipient, loop.time())
        return "250 ok" if waited > window else "451 4.7.1 greylisted, come again"

    world.relay.answers["rcpt"] = greylisting
    service = await world.serve()

    await world.signups(service, 50)

    await eventually(lambda: len(first_seen) == 50)
    assert await metric(service, "relay_paused") == 0
    if long:  # its backoff has grown to an hour by then
        await asyncio.sleep(window)
        await world.kill(service)
        await world.a_minute_passes()
        await world.serve()
    await world.settled()
    assert set(world.relay.recipients.values()) == {1}
    await verdict(world, "F7", f"greylisted for the first {window} s")


async def test_f08_a_full_mailbox_waits_alone_until_it_is_given_up(world: World, verdict: Verdict) -> None:
    refused = {"busy@example.com": "450 4.2.1 mailbox busy", "full@example.com": "452 4.2.2 mailbox full"}
    world.relay.answers["rcpt"] = lambda envelope: refused.get(envelope.recipient, "250 ok")
    service = await world.serve()
    await world.signup(service, name="busy")
    await world.signup(service, name="full")
    await world.signups(service, 30)

    async def only_they_wait() -> bool:
        return sorted(map(str, await replies(world, "pending"))) == sorted(refused.values())

    await eventually(only_they_wait)
    assert await metric(service, "relay_paused") == 0

    await give_up_at_the_next_refusal(world.database)

    await world.settled()
    assert sorted(map(str, await replies(world, "failed"))) == sorted(refused.values())
    await verdict(world, "F8", "450 and 452 for two mailboxes until they are given up")


@pytest.mark.parametrize(
    ("fault", "stage", "answer"),
    [
        ("F9", "rcpt", "550 5.1.1 no such user"),
        ("F19", "dot", "552 5.3.4 too big"),
        ("F19", "dot", "554 5.7.1 looks like spam"),
    ],
)
async def test_f09_a_final_refusal_fails_one_mail_in_the_relays_words(
    world: World, verdict: Verdict, fault: str, stage: str, answer: str
) -> None:
    world.relay.answers[stage] = lambda envelope: (
        answer if envelope.recipient.startswith("nobody") else "250 ok"
    )
    service = await world.serve()

    await world.signups(service, 50)
    await world.signup(service, name="nobody")
    await world.signups(service, 49)

    await world.settled()
    assert await replies(world, "failed") == [answer]
    assert len(world.relay.accepted) == 99
    await verdict(world, fault, f"{stage} {answer[:3]} for 1 of 100")


async def test_f14_a_connection_dropped_in_the_content_costs_nothing(
    world: World, wire: Proxy, verdict: Verdict
) -> None:
    wire.cut_when = lambda to_server, piece: to_server and b"Subject:" in piece and wire.cuts == 0
    service = await world.serve(SMTP_PORT=wire.port)

    await world.signups(service, 10)

    await world.settled()
    assert wire.cuts == 1
    assert set(world.relay.recipients.values()) == {1}
    await verdict(world, "F14", "354, then dropped")


async def test_f14_a_relay_that_no_longer_reads_costs_nothing(
    world: World, wire: Proxy, verdict: Verdict, long: bool
) -> None:
    def stall(to_server: bool, piece: bytes) -> bool:
        if not to_server and piece.startswith(b"354"):
            wire.flowing.clear()
        return False

    wire.cut_when = stall
    service = await world.serve(SMTP_PORT=wire.port)
    await world.signups(service, 10)
    await eventually(lambda: world.relay.stages["data"])
    await asyncio.sleep(200 if long else 0.5)
    assert await replies(world, "failed") == []

    wire.cut_when = None
    wire.reset()
    wire.flowing.set()

    await world.settled()
    assert set(world.relay.recipients.values()) == {1}
    await verdict(world, "F14", "354, then nothing is read")


async def test_f15_a_refusal_amid_the_content_is_final(world: World, verdict: Verdict) -> None:
    async def refuse_amid(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in ("220 hi", "250 hi", "250 ok", "250 ok", "354 go on", "550 5.6.0 not like this"):
            writer.write(f"{answer}\r\n".encode())
            await reader.readline()
        writer.close()

    async with await asyncio.start_server(refuse_amid, "127.0.0.1", 0) as hasty:
        service = await world.serve(SMTP_PORT=hasty.sockets[0].getsockname()[1])

        await world.signup(service)

        await world.settled()
    assert await replies(world, "failed") == ["550 5.6.0 not like this"]
    await verdict(world, "F15", "550 already while the content is sent")


async def test_f16_an_answer_lost_after_the_dot_is_counted_and_the_repeat_bears_the_same_id(
    world: World, wire: Proxy, verdict: Verdict
) -> None:
    wire.cut_when = lambda to_server, piece: not to_server and b"queued" in piece and wire.cuts == 0
    service = await world.serve(SMTP_PORT=wire.port)

    await world.signups(service, 10)

    await world.settled()

    async def counted() -> bool:  # the counters of all processes are some seconds behind
        return await metric(service, "welcome_emails_unknown_outcome_total") == 1

    await eventually(counted)
    world.allowed_duplicates = wire.cuts
    await verdict(world, "F16", "the connection is cut between the dot and the 250")


async def test_f16_a_relay_that_never_answers_the_dot_is_asked_less_and_less(
    world: World, verdict: Verdict
) -> None:
    world.relay.answers["dot"] = DROP
    service = await world.serve()
    await world.signup(service)

    async def deferred() -> bool:
        [row] = await rows(world.database, "SELECT deferrals FROM outbox")
        return bool(row["deferrals"])

    await eventually(deferred)
    del world.relay.answers["dot"]

    await world.settled()
    assert len(world.relay.accepted) == 1
    await verdict(world, "F16", "the relay hangs up after every dot, then no more")


@pytest.mark.parametrize(
    "seconds", [5, pytest.param(90, marks=pytest.mark.long), pytest.param(250, marks=pytest.mark.long)]
)
async def test_f17_a_relay_that_thinks_long_about_the_dot_is_waited_for(
    world: World, verdict: Verdict, long: bool, seconds: int
) -> None:
    if long:
        thinks: float = seconds
    else:
        thinks = 1.5
        world.constants["service.delivery.slow_sends.SLOW"] = 0.5
    world.relay.delays["dot"] = thinks
    services = [await world.serve(), await world.serve()]

    for service in services:
        await world.signups(service, 15 if long else 10)

    await world.settled(within=3 * thinks + 30)
    assert set(world.relay.recipients.values()) == {1}
    assert not world.relay.unanswered
    await verdict(world, "F17", f"the relay answers the dot after {thinks} s, two processes")


async def test_f18_a_dot_refused_for_now_is_one_mail_later(world: World, verdict: Verdict) -> None:
    seen: set[str] = set()

    def at_the_second_time(envelope: Envelope) -> str:
        if envelope.recipient in seen:
            return "250 ok"
        seen.add(envelope.recipient)
        return "451 4.3.0 try again"

    world.relay.answers["dot"] = at_the_second_time
    service = await world.serve()

    await world.signups(service, 20)

    await world.settled()
    assert set(world.relay.recipients.values()) == {1}
    await verdict(world, "F18", "the dot is answered 451, then 250")


async def test_f21_a_process_killed_while_it_takes_leave_has_sent_its_mail(
    world: World, verdict: Verdict
) -> None:
    world.relay.answers["quit"] = HANG
    service = await world.serve()
    await world.signups(service, 10)
    await eventually(lambda: len(world.relay.accepted) == 10)
    service.signal(signal.SIGTERM)
    await eventually(lambda: world.relay.stages["quit"])
    await world.kill(service)
    await world.a_minute_passes()

    await world.serve()

    await world.settled()
    assert set(world.relay.recipients.values()) == {1}
    await verdict(world, "F21", "QUIT hangs, and the process is killed meanwhile")
