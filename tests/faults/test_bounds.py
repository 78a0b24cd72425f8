"""With a hundred thousand mails waiting and a relay that hangs, nothing grows."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from service.database.models import OUTBOX, User
from service.outbox.sql import GIVE_UP_AFTER
from service.runtime.ids import new_id
from tests.faults.world import Verdict, World
from tests.support.database import rows
from tests.support.processes import Process
from tests.support.relay import HANG


@pytest.mark.long
async def test_i7_a_hundred_thousand_waiting_mails_cost_no_memory(world: World, verdict: Verdict) -> None:
    world.relay.answers["greeting"] = HANG
    figures = {}
    for waiting in (1_000, 100_000):
        await fill(world, waiting)
        service = await world.serve()
        await world.signups(service, 500)
        await asyncio.sleep(12)  # past the first deadlines of the connections
        figures[waiting] = usage(service), world.answers.percentile(0.99)
        world.answers.seconds.clear()
        await service.kill()

    (few, few_p99), (many, many_p99) = figures.values()
    assert many["memory"] <= 1.3 * few["memory"]
    assert many["descriptors"] <= few["descriptors"] + 10
    assert many_p99 <= 1.5 * few_p99 + 0.02
    async with world.database.transaction() as connection:
        await connection.execute(OUTBOX.delete().where(OUTBOX.c.request_id == "fill"))
    world.relay.answers.clear()
    await world.a_minute_passes()
    await world.serve()
    await world.settled()
    await verdict(world, "I7", "100,000 mails wait and the relay hangs")


async def fill(world: World, count: int) -> None:
    """So many waiting mails in all."""
    have = len(await rows(world.database, "SELECT id FROM outbox WHERE request_id = 'fill'"))
    for start in range(have, count, 1000):
        async with world.database.transaction() as connection:
            now = await world.database.now(connection) - timedelta(hours=8)
            ids = [(new_id(), new_id(), number) for number in range(start, min(start + 1000, count))]
            users = [
                {
                    "id": user,
                    "email": f"fill{number}@example.com",
                    "canonical_email": f"fill{number}@example.com",
                    "created_at": now,
                }
                for user, _, number in ids
            ]
            await connection.execute(world.database.insert(User), users)
            emails = [
                {
                    "id": email,
                    "user_id": user,
                    "recipient": f"fill{number}@example.com",
                    "domain": "example.com",
                    "request_id": "fill",
                    "status": "pending",
                    "attempt": 0,
                    "deferrals": 0,
                    "due_at": now,
                    "give_up_at": now + GIVE_UP_AFTER,
                    "created_at": now,
                }
                for user, email, number in ids
            ]
            await connection.execute(OUTBOX.insert(), emails)


def usage(process: Process) -> dict[str, int]:
    folder = Path(f"/proc/{process.pid}")
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
    return {
        "memory": int(status["VmRSS"].split()[0]) * 1024,
        "descriptors": len(list((folder / "fd").iterdir())),
        "threads": int(status["Threads"]),
    }
