"""SQLite full, broken, and written to by somebody else."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from service.settings import Settings
from tests.faults.recovery import in_time, quiet, recovered
from tests.faults.world import Verdict, World
from tests.support.app import running
from tests.support.database import no_more_pages_than, rows
from tests.support.eventually import eventually
from tests.support.processes import Process

pytestmark = [pytest.mark.parametrize("engine_name", ["sqlite"]), pytest.mark.both]


async def test_f53_the_file_is_full(settings: Settings, world: World) -> None:
    statuses: list[int] = []
    # Without deliveries: this client waits for the background tasks, and those for room for their outcomes.
    with no_more_pages_than(60):
        async with running(settings.model_copy(update={"worker": False})) as live:
            while statuses[-3:] != [503] * 3:
                email = f"user{len(statuses)}@example.com"
                answer = await live.client.post("/signup", json={"email": email})
                statuses.append(answer.status_code)
                assert answer.status_code == 201 or answer.headers["Retry-After"]
                assert len(statuses) < 1000
            assert await stored(world) == statuses.count(201)

            async with world.database.transaction() as connection:
                await connection.exec_driver_sql("DELETE FROM audit_log")
            await eventually(lambda: _succeeds(live.client))

    assert set(statuses) == {201, 503}
    [integrity] = await rows(world.database, "PRAGMA integrity_check")
    assert integrity["integrity_check"] == "ok"


async def _succeeds(client: Any) -> bool:
    answer = await client.post("/signup", json={"email": "ada@example.com"})
    return bool(answer.status_code == 201)


async def stored(world: World) -> int:
    return len(await rows(world.database, "SELECT id FROM users"))


@pytest.mark.deadlines
@pytest.mark.long  # it takes strace
async def test_f54_the_disk_does_not_keep_what_it_was_given(
    world: World, verdict: Verdict, long: bool
) -> None:
    service = await world.serve()
    await world.signups(service, 10)
    await world.settled()

    async with injected(service, "fsync,fdatasync:error=EIO"):
        await world.signups(service, 10)
        assert world.answers.statuses == {201: 10, 503: 10}
        assert await stored(world) == 10
    await recovered(world, service)

    await quiet(world, service, long=long)
    await verdict(world, "F54", "fsync says EIO")


@asynccontextmanager
async def injected(service: Process, fault: str) -> AsyncIterator[None]:
    strace = await asyncio.create_subprocess_exec(
        "strace", "-f", "-p", str(service.pid), f"--inject={fault}", stderr=asyncio.subprocess.PIPE
    )
    assert strace.stderr
    assert b"attached" in await strace.stderr.readline()
    yield
    strace.terminate()
    await strace.communicate()


@contextmanager
def writer(world: World) -> Iterator[None]:
    """Another process in the middle of a write."""
    connection = sqlite3.connect(world.database_url.removeprefix("sqlite:///"), isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("ROLLBACK")
    connection.close()


async def test_f55_somebody_else_writes_for_a_moment(world: World, verdict: Verdict) -> None:
    service = await world.serve()

    async with world.load(service):
        for _ in range(3):
            with writer(world):
                await asyncio.sleep(0.5)
            await asyncio.sleep(0.2)

    await world.settled()
    await verdict(world, "F55", "another process holds the write lock for half a second, three times")
    assert set(world.answers.statuses) == {201}


@pytest.mark.deadlines
async def test_f55_somebody_else_writes_for_too_long(world: World, verdict: Verdict, long: bool) -> None:
    service = await world.serve()

    with writer(world):
        await world.signups(service, 8)
        await asyncio.sleep(10 if long else 0)
    await recovered(world, service)

    await quiet(world, service, long=long)
    await verdict(world, "F55", "another process holds the write lock")
    assert world.answers.statuses[503] >= 8
    assert in_time(world, long=long)
