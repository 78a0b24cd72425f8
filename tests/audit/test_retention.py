"""Old entries go, and what is left can still be verified."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from service.audit import retention
from service.audit.heads import Heads
from service.database import batches
from service.database.engine import Database
from tests.support.audit import change, faults, store
from tests.support.database import rows


def heads(database: Database) -> Heads:
    return Heads(database, secret=b"")


@pytest.mark.parametrize(
    ("ages", "kept"),
    [
        ([9, 8, 7, 1, 0], [4, 5]),
        ([1, 0], [1, 2]),
        ([9, 8], []),
        ([9, 1, 8, 0], [2, 3, 4]),  # the third took so long that it stands behind a younger one
    ],
)
async def test_what_is_too_old_goes_and_the_rest_verifies(
    database: Database, tmp_path: Path, ages: list[float], kept: list[int]
) -> None:
    await store(database, tmp_path / "audit", ages)

    assert await retention.prune(heads(database), keep=timedelta(days=5)) == len(ages) - len(kept)

    assert [row["seq"] for row in await rows(database, "SELECT seq FROM audit_log ORDER BY seq")] == kept
    assert await faults(database) == []
    assert await retention.prune(heads(database), keep=timedelta(days=5)) == 0


async def test_it_goes_in_batches(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH_SIZE", 3)
    for folder in ("one", "two"):
        await store(database, tmp_path / folder, [9] * 10 + [0])

    assert await retention.prune(heads(database), keep=timedelta(days=5)) == 20

    assert len(await rows(database, "SELECT seq FROM audit_log")) == 2
    assert await faults(database) == []


async def test_it_goes_on_where_somebody_deleted_the_first_entries(
    database: Database, tmp_path: Path
) -> None:
    await store(database, tmp_path, [9] * 6 + [0] * 4)
    await change(database, "DELETE FROM audit_log WHERE seq <= 2")

    assert await retention.prune(heads(database), keep=timedelta(days=5)) == 4

    assert [row["seq"] for row in await rows(database, "SELECT seq FROM audit_log ORDER BY seq")] == [
        *range(7, 11)
    ]
    assert await faults(database) == []


@pytest.mark.parametrize(
    ("forged", "pruned", "found"),
    [
        ("UPDATE audit_log SET seq = 13 WHERE seq = 3", 4, ["unexpected: entry 13", "missing: entry 3"]),
        ("UPDATE audit_log SET seq = 0 WHERE seq = 1", 4, ["unexpected: entry 0"]),
    ],
)
async def test_an_entry_outside_the_range_neither_goes_nor_holds_up_the_others(
    database: Database, tmp_path: Path, forged: str, pruned: int, found: list[str]
) -> None:
    for folder in ("one", "two"):
        await store(database, tmp_path / folder, [9] * 3)
    await change(database, forged)

    assert await retention.prune(heads(database), keep=timedelta(days=5)) == pruned

    assert await faults(database) == found * 2


async def test_what_grows_old_meanwhile_is_left_for_the_next_round(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH_SIZE", 1)
    await store(database, tmp_path, [9, 9, 0])
    now, days = database.now, iter(range(0, 100, 10))

    async def ten_days_later_each_time(connection: AsyncConnection) -> datetime:
        return await now(connection) + timedelta(days=next(days))

    monkeypatch.setattr(database, "now", ten_days_later_each_time)

    assert await retention.prune(heads(database), keep=timedelta(days=5)) == 2
    assert await retention.prune(heads(database), keep=timedelta(days=5)) == 1


async def test_a_round_has_an_end(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH_SIZE", 1)
    monkeypatch.setattr(batches, "MAX_BATCHES", 3)
    await store(database, tmp_path, [9] * 5)

    assert await retention.prune(heads(database), keep=timedelta(days=5)) == 3
    assert await retention.prune(heads(database), keep=timedelta(days=5)) == 2
