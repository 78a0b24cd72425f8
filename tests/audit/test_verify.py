"""An entry that is missing or altered is named."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from service.audit import verify
from service.audit.log import AuditLog
from service.audit.spool import Spool
from service.audit.verify import Verification
from service.database.engine import Database
from service.database.json_rows import format_timestamp
from service.observability.metrics import Metrics
from tests.support.audit import FIELDS, faults, store
from tests.support.database import rows


async def change(database: Database, statement: str) -> None:
    async with database.transaction() as connection:
        await connection.exec_driver_sql(statement)


@pytest.fixture
async def log(database: Database, tmp_path: Path) -> Database:
    """Two instances of ten entries each."""
    for folder in ("one", "two"):
        await store(database, tmp_path / folder, [0] * 10)
    return database


async def test_an_untouched_log_is_in_order(log: Database) -> None:
    verification = Verification(log, key=b"")

    assert [finding async for finding in verification.findings()] == []
    assert verification.checked == verification.total == 20


@pytest.mark.parametrize(
    "field",
    [
        {"occurred_at": format_timestamp(datetime(2026, 11, 22, 15, 4, 5, tzinfo=UTC))},
        {"occurred_at": format_timestamp(datetime(2026, 11, 22, 15, 4, 5, 6, tzinfo=UTC))},
        {
            "occurred_at": format_timestamp(
                datetime(2026, 11, 22, 15, 4, 5, tzinfo=timezone(timedelta(hours=-3)))
            )
        },
        {"user_id": "01a2034de2b270baa0cc98ae50e103db"},
        {"method": '"\\é\u2028/'},
        {"route": None, "client_network": None},
        {"duration_us": 2**40, "response_bytes": 2**40},
    ],
)
async def test_an_entry_is_spelled_from_its_row_as_from_its_request(
    database: Database, tmp_path: Path, field: dict[str, Any]
) -> None:
    audit = AuditLog(
        database=database, spool=Spool(tmp_path, key=b""), keep=timedelta(days=1), metrics=Metrics()
    )

    audit.record(*(FIELDS | field).values())
    await audit.stop()

    assert len(await rows(database, "SELECT * FROM audit_log")) == 1
    assert await faults(database) == []


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("DELETE FROM audit_log WHERE seq = 5", ["missing: entry 5", "missing: entry 5"]),
        ("DELETE FROM audit_log WHERE seq IN (3, 4)", ["missing: entry 3", "missing: entry 4"] * 2),
        ("DELETE FROM audit_log WHERE seq >= 10", ["missing: entry 10"] * 2),
        ("DELETE FROM audit_log WHERE seq = 1", ["missing: entry 1"] * 2),
        ("UPDATE audit_log SET status = 204 WHERE seq = 7", ["altered: entry 7"] * 2),
        ("UPDATE audit_log SET client_network = NULL WHERE seq = 7", ["altered: entry 7"] * 2),
        ("UPDATE audit_log SET occurred_at = '2020-01-01 00:00:00' WHERE seq = 7", ["altered: entry 7"] * 2),
        ("DELETE FROM audit_log", [f"missing: entry {seq}" for seq in range(1, 11)] * 2),
    ],
)
async def test_what_was_done_to_it_is_named(log: Database, statement: str, found: list[str]) -> None:
    await change(log, statement)

    assert [fault.partition(" of ")[0] for fault in await faults(log)] == found


async def test_entries_of_an_instance_nobody_knows_are_named(log: Database) -> None:
    await change(log, "DELETE FROM audit_instances")

    assert len(await faults(log)) == 20


async def test_another_key_gives_every_entry_away(log: Database) -> None:
    assert len([finding async for finding in Verification(log, key=b"other").findings()]) == 20


async def test_a_log_of_many_pages_is_read_to_its_end(log: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "PAGE", 3)
    await change(log, "DELETE FROM audit_log WHERE seq IN (3, 9, 10)")

    assert [fault.partition(" of ")[0] for fault in await faults(log)] == [
        "missing: entry 3",
        "missing: entry 9",
        "missing: entry 10",
    ] * 2
    assert len(await rows(log, "SELECT * FROM audit_log")) == 14
