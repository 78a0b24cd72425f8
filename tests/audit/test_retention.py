"""Old entries go, and what is left can still be verified."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.audit import retention
from service.audit.log import AuditLog
from service.audit.spool import Spool
from service.audit.verify import Verification
from service.database.engine import Database
from service.database.json_rows import format_timestamp
from service.observability.metrics import Metrics
from tests.audit.test_spool import FIELDS
from tests.conftest import rows


async def store(database: Database, folder: Path, ages: Sequence[float]) -> None:
    """One instance's entries, so many days old, in the order of their numbers."""
    audit = AuditLog(
        database=database, spool=Spool(folder, key=b""), keep=timedelta(days=999), metrics=Metrics()
    )
    for age in ages:
        occurred_at = datetime.now(UTC) - timedelta(days=age)
        audit.record(*(FIELDS | {"occurred_at": format_timestamp(occurred_at)}).values())
    await audit.stop()


async def faults(database: Database) -> list[str]:
    return [str(finding) async for finding in Verification(database, key=b"").findings()]


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
