"""Records audit entries, kills spools, and verifies the table."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from service.audit.entries import Entry
from service.audit.heads import Heads
from service.audit.log import AuditLog
from service.audit.spool import Spool
from service.audit.verify import Verification
from service.database.engine import Database
from service.database.json_rows import format_timestamp
from service.observability.metrics import Metrics

ENTRY = Entry(
    occurred_at=format_timestamp(datetime.now(UTC)),
    request_id="r",
    method="GET",
    route="/healthz",
    status=200,
    duration_us=5,
    response_bytes=15,
    user_id=None,
    client_network="192.0.2.0/24",
)


def entry_of(age: timedelta) -> Entry:
    return ENTRY._replace(occurred_at=format_timestamp(datetime.now(UTC) - age))


def open_spool(folder: Path, *, secret: bytes = b"") -> Spool:
    spool = Spool(folder, secret=secret)
    spool.open()
    return spool


def die(spool: Spool) -> None:
    """Does what `kill -9` does: the locks go, the files stay."""
    for segment in (spool._active, spool._resting):
        segment.close()


def audit_log(
    database: Database,
    folder: Path,
    *,
    secret: bytes = b"",
    keep: timedelta = timedelta(days=999),
    metrics: Metrics | None = None,
) -> AuditLog:
    return AuditLog(
        heads=Heads(database, secret=secret),
        spool=Spool(folder, secret=secret),
        keep=keep,
        metrics=metrics or Metrics(),
    )


@asynccontextmanager
async def opened(audit: AuditLog) -> AsyncIterator[AuditLog]:
    """With a spool but without loops: the test decides when entries are moved."""
    audit._spool.open()
    yield audit
    audit._spool.close()


async def store(database: Database, folder: Path, ages: Sequence[float], *, secret: bytes = b"") -> None:
    """Stores entries of one instance, in order; `ages` are in days."""
    async with opened(audit_log(database, folder, secret=secret)) as audit:
        for age in ages:
            audit.record(entry_of(timedelta(days=age)))
        await audit.move()


async def faults(database: Database, *, secret: bytes = b"") -> list[str]:
    """The findings of the verification, without the ids of instances."""
    found = Verification(database, secret=secret).findings()
    return [str(finding).partition(" of ")[0] async for finding in found]


async def change(database: Database, *statements: str) -> None:
    """Does what somebody can do who can write the database but has no key."""
    async with database.transaction() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)
