"""Old entries go, and what is left can still be verified."""

from datetime import timedelta
from pathlib import Path

import pytest

from service.audit import retention
from service.database.engine import Database
from tests.support.audit import faults, store
from tests.support.database import rows


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

    assert await retention.prune(database, keep=timedelta(days=5)) == len(ages) - len(kept)

    assert [row["seq"] for row in await rows(database, "SELECT seq FROM audit_log ORDER BY seq")] == kept
    assert await faults(database) == []
    assert await retention.prune(database, keep=timedelta(days=5)) == 0


async def test_it_goes_in_batches(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    for folder in ("one", "two"):
        await store(database, tmp_path / folder, [9] * 10 + [0])

    assert await retention.prune(database, keep=timedelta(days=5)) == 20

    assert len(await rows(database, "SELECT seq FROM audit_log")) == 2
    assert await faults(database) == []
