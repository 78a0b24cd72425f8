"""SIGKILL at random, SIGTERM once and twice, and processes that run out of something."""

import asyncio
import random
import signal
import time

import httpx
import pytest

from service.runtime.signals import SAME_SIGNAL_WITHIN
from tests.faults.operator import metric
from tests.faults.world import Verdict, World
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.relay import HANG


@pytest.mark.both
async def test_f28_killed_under_load_again_and_again(world: World, verdict: Verdict, long: bool) -> None:
    for _ in range(30 if long else 2):
        service = await world.serve()
        async with world.load(service, clients=8):
            await asyncio.sleep(random.uniform(0.5, 1.5))
            await world.kill(service)
        await world.a_minute_passes()

    await world.serve()
    await world.settled()
    await verdict(world, "F28", "SIGKILL of the API under load, again and again")


@pytest.mark.long
async def test_f28_one_of_two_replicas_and_the_worker_are_killed(
    world: World, verdict: Verdict, long: bool
) -> None:
    for _ in range(5 if long else 1):
        one, two, worker = await world.serve(), await world.serve(WORKER="false"), await world.work()
        async with world.load(one, two, clients=8):
            await asyncio.sleep(random.uniform(0.5, 1.5))
            await world.kill(worker)
            await asyncio.sleep(0.3)
            await world.kill(one)
            await asyncio.sleep(0.3)
            await world.kill(two)
        await world.a_minute_passes()

    await world.work()
    await world.serve(WORKER="false")
    await world.settled()
    await verdict(world, "F28", "SIGKILL of two APIs and a worker under load")


async def test_f30_sigterm_finishes_what_is_in_flight(world: World, verdict: Verdict) -> None:
    world.relay.delays["dot"] = 0.5
    service = await world.serve()
    async with world.load(service, clients=4):
        await eventually(lambda: world.relay.stages["dot"] >= 10)
        begun = time.monotonic()
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0

    assert time.monotonic() - begun < 15
    world.relay.delays.clear()
    await world.serve()
    await world.settled()
    found = await verdict(world, "F30", "SIGTERM during sends in flight")
    assert found.duplicates == 0


async def test_f31_sigterm_while_the_relay_hangs_ends_in_time(
    world: World, verdict: Verdict, long: bool
) -> None:
    world.constants["service.runtime.signals.SAME_SIGNAL_WITHIN"] = SAME_SIGNAL_WITHIN if long else 0.3
    world.relay.answers["dot"] = HANG
    service = await world.serve()
    await world.signups(service, 12)
    await eventually(lambda: world.relay.stages["dot"] == 10)

    if long:
        service.signal(signal.SIGTERM)
        assert await service.ended(within=30) == 0
    else:
        await service.ended_by_sigterm()  # at the second; draining would take longer
    world.allowed_duplicates += await world.in_flight()
    world.relay.answers.clear()
    await world.a_minute_passes()
    await world.serve()
    await world.settled()
    await verdict(world, "F31", "SIGTERM while the relay hangs")


async def test_f35_a_message_that_cannot_be_built_fails_alone(world: World, verdict: Verdict) -> None:
    templates = world.folder / "templates"
    templates.mkdir(parents=True)
    (templates / "welcome.txt").write_text("Hello {{ 1 // (name != 'Poison') }}")
    service = await world.serve(TEMPLATES_DIR=templates)
    await world.signups(service, 20)
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"{service.url}/signup", json={"email": "poison@example.com", "name": "Poison"}
        )
    assert answer.status_code == 201

    await world.settled()

    [failed] = await rows(world.database, "SELECT recipient, last_reply FROM outbox WHERE status = 'failed'")
    assert failed["recipient"] == "poison@example.com"
    assert "could not be built" in failed["last_reply"]
    assert service.alive
    await verdict(world, "F35", "one message of 21 cannot be built")


@pytest.mark.long
async def test_f37_few_file_descriptors_and_a_relay_that_hangs(world: World, verdict: Verdict) -> None:
    world.relay.answers["greeting"] = HANG
    service = await world.serve(files=256)

    await world.signups(service, 400, at_once=16)

    assert set(world.answers.statuses) == {201}
    world.relay.answers.clear()
    await world.settled()
    await verdict(world, "F37", "256 file descriptors, and the relay hangs")


async def test_f60_fifty_at_once_for_one_address_over_two_processes(world: World, verdict: Verdict) -> None:
    one, two = await world.serve(), await world.serve()
    spellings = ["ada", "Ada", "ADA", "aDa"]

    statuses = await asyncio.gather(
        *(world.signup((one, two)[n % 2], name=spellings[n % 4]) for n in range(50))
    )

    assert sorted(statuses) == [201] + [409] * 49
    await world.settled()
    await verdict(world, "F60", "50 at once for one address, over two processes")


async def test_f63_clients_that_leave_early(world: World, verdict: Verdict) -> None:
    service = await world.serve()
    body = b'{"email": "ada@example.com"}'
    head = b"POST /signup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"

    async def sent(piece: bytes) -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(head % len(body) + b"Expect: 100-continue\r\n\r\n")
        assert b" 100 " in await reader.readuntil(b"\r\n\r\n")  # the service waits for the body
        writer.write(piece)
        return writer

    async def is_being_stored() -> bool:
        return await metric(service, 'batch_sizes_count{of="signups"}') == 1

    incomplete = await sent(body[:10])
    incomplete.transport.abort()
    async with world.database.unbounded_transaction() as connection:  # the only one that may write
        await connection.exec_driver_sql("SELECT 1" if world.database.is_sqlite else "LOCK TABLE users")
        complete = await sent(body)
        await eventually(is_being_stored)
        complete.transport.abort()

    await eventually(lambda: world.relay.recipients["ada@example.com"] == 1)
    assert await world.signup(service) == 201
    await world.settled()

    statuses = [
        row["status"]
        for row in await rows(world.database, "SELECT status FROM audit_log WHERE method = 'POST'")
    ]
    assert sorted(statuses) == [201, 201, 499]
    await verdict(world, "F63", "clients that leave before the body's end, and before the answer")


@pytest.mark.long
async def test_i6_the_state_of_the_relay_does_not_change_the_answers(
    world: World, verdict: Verdict, long: bool
) -> None:
    seconds: dict[str, float] = {}
    for state, answer in (("up", "220 ready"), ("down", ""), ("hanging", HANG)):
        if state == "down":
            await world.relay.stop()
        elif state == "hanging":
            await world.relay.start()
        world.relay.answers["greeting"] = answer
        service = await world.serve()
        world.answers.seconds.clear()
        await world.signups(service, 2000 if long else 300)
        seconds[state] = world.answers.percentile(0.99)
        await service.kill()

    assert set(world.answers.statuses) == {201}
    assert max(seconds["down"], seconds["hanging"]) < 2 * seconds["up"] + 0.05
    world.relay.answers.clear()
    world.allowed_duplicates += await world.in_flight()
    await world.a_minute_passes()
    await world.serve()
    await world.settled()
    await verdict(world, "I6", "the relay up, down and hanging: the same answers")


async def test_f71_entries_of_a_killed_process_are_adopted_by_a_living_one(
    world: World, verdict: Verdict
) -> None:
    one, two = await world.serve(), await world.serve()
    async with world.load(one, two, clients=4):
        await asyncio.sleep(0.5)
        await world.kill(one)
        await asyncio.sleep(0.5)

    await world.kill(two)
    await world.a_minute_passes()
    await world.serve()
    await world.settled()
    await verdict(world, "F71", "spools of killed processes are adopted")
