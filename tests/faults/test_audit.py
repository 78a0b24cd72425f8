"""The audit, while its files are cut, its table is emptied by retention, and somebody verifies it."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from service.audit import log, verify
from service.audit.entries import NumberedEntry
from service.audit.log import AuditLog
from service.audit.spool import file_size
from service.database import batches
from service.database.engine import Database
from tests.faults.world import World
from tests.support.audit import ENTRY, audit_log, entry_of, faults, opened
from tests.support.database import rows

KEEP = timedelta(days=5)
HEADS = "SELECT first_seq FROM audit_instances"
ENTRY_LINE = NumberedEntry("0" * 32, 1000, ENTRY).to_line(key=b"")


@asynccontextmanager
async def traffic(
    audit: AuditLog, *, age: timedelta = timedelta(0), a_second: int = 300
) -> AsyncIterator[None]:
    """Entries that are so old when they are written."""

    async def write() -> None:
        while True:
            for _ in range(a_second // 100):
                audit.record(entry_of(age))
            await asyncio.sleep(0.01)

    writing = asyncio.create_task(write())
    yield
    writing.cancel()


def slow_commits(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    transaction = Database.transaction

    @asynccontextmanager
    async def slow(database: Database, *, autocommit: bool = False) -> AsyncIterator[AsyncConnection]:
        async with transaction(database, autocommit=autocommit) as connection:
            yield connection
            await asyncio.sleep(seconds)

    monkeypatch.setattr(Database, "transaction", slow)


def cut(spool: Path, left: int) -> None:
    """To so many bytes a file."""
    for path in spool.glob("*.spool"):
        os.truncate(path, min(left, file_size(path)))


def missing(finding: str) -> int:
    """How many entries are, by that finding."""
    assert finding.startswith("missing")
    first, *last = map(int, re.findall(r"\d+", finding))
    return (last[0] if last else first) - first + 1


@pytest.mark.both
async def test_f75_retention_does_not_keep_new_entries_waiting(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long: bool
) -> None:
    a_second, seconds = 300, 8 if long else 4
    async with opened(audit_log(database, tmp_path / "before")) as before:
        for number in range(a_second * seconds):
            before.record(entry_of(KEEP - timedelta(seconds=number / a_second)))  # and then they grow old
        await before.move()
    monkeypatch.setattr(log, "CLEAN_UP_EVERY", 0.05)
    slow_commits(monkeypatch, 0.01)

    audit, waiting = audit_log(database, tmp_path, keep=KEEP), 0
    async with audit.running(), traffic(audit, age=timedelta(0), a_second=a_second):
        for _ in range(seconds * 10):
            await asyncio.sleep(0.1)
            waiting = max(waiting, audit._spool.waiting_bytes)

    [pruned, _] = sorted(row["first_seq"] for row in await rows(database, HEADS))[::-1]
    assert pruned > a_second  # it did something meanwhile
    assert waiting < len(ENTRY_LINE) * a_second * seconds / 2


@pytest.mark.both
async def test_f76_verification_raises_no_alarm_while_retention_and_traffic_work(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long: bool
) -> None:
    monkeypatch.setattr(log, "CLEAN_UP_EVERY", 0.01)
    monkeypatch.setattr(log, "MOVE_DELAY", 0.01)
    monkeypatch.setattr(batches, "BATCH_SIZE", 20)
    monkeypatch.setattr(verify, "PAGE_SIZE", 50)
    audit = audit_log(database, tmp_path, secret=b"key", keep=KEEP)

    async with audit.running(), traffic(audit, age=KEEP - timedelta(seconds=2 if long else 0.5)):
        await asyncio.sleep(1 if long else 0.5)
        for _ in range(15):
            assert await faults(database, secret=b"key") == []
            await asyncio.sleep(0.2 if long else 0.1)

    [head] = await rows(database, HEADS)
    assert head["first_seq"] > 1


@pytest.mark.both
@pytest.mark.parametrize("left", [0, 1000])
async def test_f82_spool_files_are_cut_under_a_running_process(world: World, left: int) -> None:
    service = await world.serve()
    await world.signups(service, 5)
    await world.settled()
    await world.migrate("ALTER TABLE audit_log RENAME TO elsewhere")
    await world.signups(service, 20)

    cut(world.folder / "data" / "audit", left)
    await world.signups(service, 20)
    await world.migrate("ALTER TABLE elsewhere RENAME TO audit_log")
    await world.settled()

    assert service.alive
    kept = await rows(world.database, "SELECT seq FROM audit_log WHERE method = 'POST'")
    lost = sum(int(found) for found in re.findall(r'"entries": (\d+).*"event": "audit.lost"', service.log))
    assert lost == world.answers.statuses.total() - len(kept) > 0
    assert sum(map(missing, await faults(world.database))) == lost


@pytest.mark.both
async def test_f82_what_is_lost_last_is_missed_too(database: Database, tmp_path: Path) -> None:
    audit = audit_log(database, tmp_path)
    async with audit.running():
        for _ in range(3):
            audit.record(entry_of(timedelta(0)))
        cut(tmp_path, 0)

    assert await faults(database) == ["missing: entries 1 to 3"]
