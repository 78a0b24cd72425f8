"""The end of a long outage, with a backlog: a thundering herd that must not thunder."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from service.database.json_rows import encode_rows
from service.database.models import OUTBOX, User, table
from service.outbox.row import NewEmail
from service.outbox.sql import enqueue_statement
from service.runtime.ids import new_id
from tests.faults.checker import Answers
from tests.faults.world import Verdict, World
from tests.support.eventually import eventually
from tests.support.processes import Process
from tests.support.relay import Envelope

OUTAGE = timedelta(hours=8)
PAUSE_OF_VISITORS = 0.03  # s; steady, and far from what the machine can do


async def leave_waiting(world: World, count: int) -> None:
    """What so many signups of a long outage have left behind."""
    enqueue = enqueue_statement(world.database, table(User))
    users = [(new_id(), f"early{number}@example.com") for number in range(count)]
    for begin in range(0, count, 1000):  # each in a transaction of its own: one of all takes too long
        some = users[begin : begin + 1000]
        emails = [
            NewEmail(user_id=user_id, recipient=address, name="Ada", request_id="early", claimed=False)
            for user_id, address in some
        ]
        async with world.database.transaction() as connection:
            then = await world.database.now(connection) - OUTAGE
            await connection.execute(
                world.database.insert(User),
                [
                    {"id": user_id, "email": address, "canonical_email": address, "created_at": then}
                    for user_id, address in some
                ],
            )
            await connection.execute(enqueue, {"emails": encode_rows(email.row() for email in emails)})
            of_those = OUTBOX.c.id.in_([email.id for email in emails])
            await connection.execute(OUTBOX.update().where(of_those).values(due_at=then))
    world.answers.confirmed |= {address: str(user_id) for user_id, address in users}


@asynccontextmanager
async def visitors(world: World, services: list[Process]) -> AsyncIterator[None]:
    async def come() -> None:
        while True:
            for service in services:
                await world.signup(service)
                await asyncio.sleep(PAUSE_OF_VISITORS)

    coming = asyncio.create_task(come())
    try:
        yield
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


async def test_f25_a_backlog_drains_by_the_ramp_while_signups_are_answered_as_ever(
    world: World, verdict: Verdict, calm: float, long: bool
) -> None:
    waiting = 100_000 if long else 2_000
    openings: list[tuple[int, int]] = []  # connections, and mails taken, whenever one is opened

    async def watch(stage: str, _: Envelope) -> None:
        if stage == "greeting":
            openings.append((world.relay.connections, len(world.relay.accepted)))

    world.relay.on_stage = watch
    await world.relay.stop()
    services = [await world.serve(), await world.serve()]
    await leave_waiting(world, waiting)
    async with visitors(world, services):
        await asyncio.sleep(90 if long else 2)
        away = len(world.answers.seconds)
        await world.relay.start()
        await eventually(lambda: world.relay.accepted, within=90)
        begun = time.monotonic()
        await eventually(lambda: len(world.relay.accepted) >= waiting, within=900)
        rate = waiting / (time.monotonic() - begun)

    await world.settled()
    assert all(connections <= 2**taken + 1 for connections, taken in openings)  # of two processes
    assert world.relay.most_connections <= 20
    assert set(world.relay.recipients.values()) == {1}
    before = Answers(seconds=world.answers.seconds[:away]).percentile(0.99)
    meanwhile = Answers(seconds=world.answers.seconds[away:]).percentile(0.99)
    assert meanwhile < calm
    await verdict(
        world,
        "F25",
        f"{waiting} wait for a relay that comes back: {rate:.0f}/s, "
        f"p99 {before * 1000:.0f} ms before and {meanwhile * 1000:.0f} ms meanwhile",
    )
