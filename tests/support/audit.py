"""Audit entries, and what dying processes leave of them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from service.audit.log import AuditLog
from service.audit.spool import Spool
from service.audit.verify import Verification
from service.database.engine import Database
from service.database.json_rows import format_timestamp
from service.observability.metrics import Metrics

FIELDS: dict[str, Any] = {
    "occurred_at": format_timestamp(datetime.now(UTC)),
    "request_id": "r",
    "method": "GET",
    "route": "/healthz",
    "status": 200,
    "duration_us": 5,
    "response_bytes": 15,
    "user_id": None,
    "client_network": "192.0.2.0/24",
}


def content(path: Path) -> bytes:
    return path.read_bytes().rstrip(b"\0")


def die(spool: Spool) -> None:
    """As `kill -9` does: the locks go, the files stay."""
    for segment in (spool._active, spool._resting):
        segment.close()


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
