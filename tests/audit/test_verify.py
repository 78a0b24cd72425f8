"""An entry that is missing or altered is named."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from service.audit import verify
from service.audit.heads import Heads
from service.audit.retention import prune
from service.audit.verify import Verification
from service.database.engine import Database
from service.database.json_rows import format_timestamp
from tests.support.audit import ENTRY, audit_log, change, entry_of, faults, opened, store
from tests.support.database import rows

TABLES = ("audit_log", "audit_instances")


@pytest.fixture
async def log(database: Database, tmp_path: Path) -> Database:
    """Two instances of ten entries each."""
    for folder in ("one", "two"):
        await store(database, tmp_path / folder, [0] * 10)
    return database


@pytest.mark.parametrize("page", [1, 3, 10, 2000])
async def test_an_untouched_log_is_in_order(
    log: Database, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(verify, "PAGE_SIZE", page)
    verification = Verification(log, secret=b"")

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
    async with opened(audit_log(database, tmp_path)) as audit:
        audit.record(ENTRY._replace(**field))
        await audit.move()

    assert len(await rows(database, "SELECT * FROM audit_log")) == 1
    assert await faults(database) == []


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("DELETE FROM audit_log WHERE seq = 5", ["missing: entry 5", "missing: entry 5"]),
        ("DELETE FROM audit_log WHERE seq IN (3, 4)", ["missing: entries 3 to 4"] * 2),
        ("DELETE FROM audit_log WHERE seq >= 10", ["missing: entry 10"] * 2),
        ("DELETE FROM audit_log WHERE seq = 1", ["missing: entry 1"] * 2),
        ("UPDATE audit_log SET status = 204 WHERE seq = 7", ["altered: entry 7"] * 2),
        ("UPDATE audit_log SET client_network = NULL WHERE seq = 7", ["altered: entry 7"] * 2),
        ("UPDATE audit_log SET occurred_at = '2020-01-01 00:00:00' WHERE seq = 7", ["altered: entry 7"] * 2),
        ("DELETE FROM audit_log", ["missing: entries 1 to 10"] * 2),
    ],
)
async def test_what_was_done_to_it_is_named(log: Database, statement: str, found: list[str]) -> None:
    await change(log, statement)

    assert await faults(log) == found


SIGNED = b"only those who run the service have it"


@pytest.mark.parametrize(
    ("statements", "found"),
    [
        (
            ["DELETE FROM audit_log WHERE seq > 8", "UPDATE audit_instances SET last_seq = 8"],
            ["altered: range"],
        ),
        (
            ["DELETE FROM audit_log WHERE seq < 4", "UPDATE audit_instances SET first_seq = 4"],
            ["altered: range"],
        ),
        (
            ["DELETE FROM audit_log", "UPDATE audit_instances SET first_seq = 11"],
            ["altered: range"],
        ),
        (["UPDATE audit_log SET seq = 11 WHERE seq = 10"], ["missing: entry 10", "unexpected: entry 11"]),
        (["UPDATE audit_log SET seq = 0 WHERE seq = 1"], ["unexpected: entry 0", "missing: entry 1"]),
        (
            ["UPDATE audit_log SET seq = -9223372036854775808 WHERE seq = 1"],
            ["unexpected: entry -9223372036854775808", "missing: entry 1"],
        ),
        (
            ["UPDATE audit_log SET seq = 11 WHERE seq = 10", "UPDATE audit_instances SET last_seq = 11"],
            ["missing: entry 10", "altered: entry 11", "altered: range"],
        ),
        (
            [
                "UPDATE audit_instances SET last_seq = 9223372036854775807",
            ],
            ["missing: entries 11 to 9223372036854775807", "altered: range"],
        ),
        (["DELETE FROM audit_instances"], ["unexpected: entries 1 to 10"]),
    ],
)
async def test_what_somebody_without_the_key_does_is_named(
    database: Database, tmp_path: Path, statements: list[str], found: list[str]
) -> None:
    await store(database, tmp_path, [0] * 10, secret=SIGNED)

    await change(database, *statements)

    assert sorted(await faults(database, secret=SIGNED)) == sorted(found)


async def test_an_instance_that_is_gone_is_not_counted(log: Database) -> None:
    async def count() -> tuple[int, int]:
        verification = Verification(log, secret=b"")
        assert [finding async for finding in verification.findings()] == []
        return len(verification.heads), verification.checked

    assert await count() == (2, 20)
    [gone, _] = [row["instance"] for row in await rows(log, "SELECT instance FROM audit_instances")]

    await change(log, *(f"DELETE FROM {table} WHERE instance = '{gone}'" for table in TABLES))  # ours

    assert await count() == (1, 10)


@pytest.mark.parametrize(
    "statements",
    [
        ["DELETE FROM audit_log WHERE seq > 1", "UPDATE audit_instances SET last_seq = 1"],
        ["DELETE FROM audit_log WHERE seq = 1", "UPDATE audit_instances SET first_seq = 2"],
        ["DELETE FROM audit_log", "DELETE FROM audit_instances"],
    ],
)
async def test_who_moves_and_who_prunes_does_not_cover_up_what_was_done(
    database: Database, tmp_path: Path, statements: list[str]
) -> None:
    async with opened(audit_log(database, tmp_path, secret=SIGNED)) as audit:
        for age in (9, 9, 9):
            audit.record(entry_of(timedelta(days=age)))
        await audit.move()
        await change(database, *statements)
        before = await faults(database, secret=SIGNED)
        audit.record(entry_of(timedelta(days=0)))

        await audit.move()
        after = await faults(database, secret=SIGNED)
        await prune(Heads(database, secret=SIGNED), keep=timedelta(days=5))

        assert after
        assert set(before) <= {*after, "altered: range"}
        assert await faults(database, secret=SIGNED)


async def test_a_range_that_somebody_raised_keeps_no_entry_out(database: Database, tmp_path: Path) -> None:
    async with opened(audit_log(database, tmp_path, secret=SIGNED)) as audit:
        audit.record(ENTRY)
        await audit.move()
        await change(database, "UPDATE audit_instances SET first_seq = 1000")
        audit.record(ENTRY)

        await audit.move()

    assert len(await rows(database, "SELECT * FROM audit_log")) == 2
    assert await faults(database, secret=SIGNED) == ["unexpected: entries 1 to 2", "altered: range"]


async def test_retention_does_not_cover_up_entries_that_were_deleted(
    database: Database, tmp_path: Path
) -> None:
    await store(database, tmp_path, [9, 9, 0, 0], secret=SIGNED)
    await change(database, "DELETE FROM audit_log WHERE seq > 2")

    await prune(Heads(database, secret=SIGNED), keep=timedelta(days=5))

    assert await faults(database, secret=SIGNED) == ["missing: entries 3 to 4"]


@pytest.mark.parametrize("engine_name", ["sqlite"])
@pytest.mark.parametrize(
    "value",
    [
        *("occurred_at = 'yesterday'", "user_id = 'ada'", "status = 'fine'", "method = x'ff'"),
        *("digest = 'é'", "digest = x'ff'"),
    ],
)
async def test_what_is_no_value_of_its_column_is_altered(log: Database, value: str) -> None:
    await change(log, f"UPDATE audit_log SET {value} WHERE seq = 7")  # ours

    assert await faults(log) == ["altered: entry 7"] * 2


@pytest.mark.parametrize("engine_name", ["sqlite"])
@pytest.mark.parametrize(
    ("statement", "found"),
    [
        (
            "UPDATE audit_log SET instance = 'nobody' WHERE seq = 7",
            ["unexpected: entry 7", "missing: entry 7"],
        ),
        (
            "UPDATE audit_log SET instance = x'ff' WHERE seq = 7",
            ["unexpected: entry 7", "missing: entry 7"],
        ),
        ("UPDATE audit_log SET seq = 'seven' WHERE seq = 7", ["missing: entry 7", "unexpected: entry seven"]),
        ("UPDATE audit_log SET seq = 7.5 WHERE seq = 7", ["missing: entry 7", "unexpected: entry 7.5"]),
        ("UPDATE audit_instances SET instance = 'nobody'", ["unexpected: entries 1 to 10", "altered: range"]),
        ("UPDATE audit_instances SET first_seq = 'one'", ["altered: range"]),
        ("UPDATE audit_instances SET last_seq = x'ff'", ["altered: range"]),
    ],
)
async def test_what_is_no_id_and_no_number_is_named(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str, found: list[str]
) -> None:
    monkeypatch.setattr(verify, "PAGE_SIZE", 3)
    await store(database, tmp_path, [0] * 10)

    await change(database, statement)

    assert sorted(await faults(database)) == sorted(found)


async def test_a_digest_of_a_range_that_is_none_is_named(log: Database) -> None:
    await change(log, "UPDATE audit_instances SET digest = 'é'")

    assert await faults(log) == ["altered: range"] * 2


async def test_entries_of_an_instance_nobody_knows_are_named(log: Database) -> None:
    await change(log, "DELETE FROM audit_instances")

    assert await faults(log) == ["unexpected: entries 1 to 10"] * 2


async def test_another_key_gives_every_entry_away(log: Database) -> None:
    assert await faults(log, secret=b"other") == ["altered: entries 1 to 10", "altered: range"] * 2


async def test_a_log_of_many_pages_is_read_to_its_end(log: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "PAGE_SIZE", 3)
    await change(log, "DELETE FROM audit_log WHERE seq IN (3, 9, 10)")

    assert (
        await faults(log)
        == [
            "missing: entry 3",
            "missing: entries 9 to 10",
        ]
        * 2
    )
    assert len(await rows(log, "SELECT * FROM audit_log")) == 14
