"""From the spool to the table, each entry exactly once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from service.audit.log import AuditLog
from service.audit.spool import Spool
from service.database.engine import Database, DatabaseUnavailable
from service.observability.metrics import Metrics
from tests.support.audit import FIELDS, content, die
from tests.support.database import rows
from tests.support.eventually import eventually


@pytest.fixture
async def audit(database: Database, tmp_path: Path, metrics: Metrics) -> AsyncIterator[AuditLog]:
    audit = AuditLog(
        database=database, spool=Spool(tmp_path / "audit", key=b""), keep=timedelta(days=1), metrics=metrics
    )
    yield audit
    await audit.stop()


async def numbers(database: Database) -> list[int]:
    return [row["seq"] for row in await rows(database, "SELECT seq FROM audit_log ORDER BY seq")]


async def test_entries_reach_the_table_by_themselves(audit: AuditLog, database: Database) -> None:
    audit.start()

    for _ in range(3):
        audit.record(*FIELDS.values())

    await eventually(lambda: _is(database, [1, 2, 3]))


async def test_the_instance_knows_what_the_table_should_hold(audit: AuditLog, database: Database) -> None:
    for count in (2, 3):
        for _ in range(count):
            audit.record(*FIELDS.values())
        await audit.move()

    [instance] = await rows(database, "SELECT * FROM audit_instances")
    assert (instance["first_seq"], instance["last_seq"]) == (1, 5)


async def test_what_a_dead_process_left_is_moved_once(
    audit: AuditLog, database: Database, tmp_path: Path
) -> None:
    dead = Spool(tmp_path / "audit", key=b"")
    for _ in range(3):
        dead.append(*FIELDS.values())
    die(dead)

    assert await audit.adopt() == 3
    assert await audit.adopt() == 0

    assert await numbers(database) == [1, 2, 3]


async def test_an_adoption_that_failed_can_be_tried_again(
    audit: AuditLog, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = Spool(tmp_path / "audit", key=b"")
    dead.append(*FIELDS.values())
    die(dead)

    async def away(*_: object) -> None:
        raise DatabaseUnavailable("starting")

    with monkeypatch.context() as patch:
        patch.setattr(AuditLog, "_insert", away)
        with pytest.raises(DatabaseUnavailable):
            await audit.adopt()

    assert await audit.adopt() == 1
    assert await numbers(database) == [1]


async def test_entries_that_are_moved_twice_are_stored_once(
    audit: AuditLog, database: Database, tmp_path: Path
) -> None:
    dead = Spool(tmp_path / "audit", key=b"")
    for _ in range(3):
        dead.append(*FIELDS.values())
    path = dead._active.path
    lines = content(path)
    die(dead)
    await audit.adopt()
    path.write_bytes(lines)  # as if the process had died between the commit and the removal

    await audit.adopt()

    assert await numbers(database) == [1, 2, 3]


async def test_a_damaged_line_does_not_hold_up_the_others(
    audit: AuditLog, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = Spool(tmp_path / "audit", key=b"")
    for _ in range(3):
        dead.append(*FIELDS.values())
    path = dead._active.path
    die(dead)
    first, second, third = content(path).splitlines(keepends=True)
    for damaged in (second.replace(b"GET", b"G\0T"), second.replace(b",", b"", 1), second[9:]):
        path.write_bytes(first + damaged + third)

        await audit.adopt()

        assert await numbers(database) == [1, 3]
        assert "entries=1 event='audit.unreadable'" in capsys.readouterr().out


async def test_a_line_that_is_no_csv_is_stored_as_it_is(audit: AuditLog, database: Database) -> None:
    odd = ['a "quoted" \\ method', "null", "a,b", "", "\\."]
    for method in odd:
        audit.record(*(FIELDS | {"method": method, "route": None}).values())

    await audit.move()

    found = await rows(database, "SELECT method, route FROM audit_log ORDER BY seq")
    assert [(row["method"], row["route"]) for row in found] == [(method, None) for method in odd]


async def test_while_the_database_is_away_entries_wait(
    audit: AuditLog, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = AuditLog._insert

    async def away(*_: object) -> None:
        raise DatabaseUnavailable("restarting")

    monkeypatch.setattr(AuditLog, "_insert", away)
    monkeypatch.setattr("service.audit.log.TRY_AGAIN_AFTER", 0.01)
    audit.start()
    audit.record(*FIELDS.values())
    await eventually(lambda: audit.trouble)

    monkeypatch.setattr(AuditLog, "_insert", insert)

    await eventually(lambda: _is(database, [1]))
    await eventually(lambda: audit.trouble is None)


async def test_an_entry_that_cannot_be_spooled_goes_to_the_log_and_is_counted(
    audit: AuditLog, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "append", full)

    audit.record(*FIELDS.values())

    assert "audit.unspooled" in capsys.readouterr().out
    assert metrics.registry.get_sample_value("audit_entries_unspooled_total") == 1
    assert audit.trouble


@pytest.mark.parametrize("before", [0, 1])
async def test_an_entry_that_comes_after_the_end_goes_to_the_log(
    audit: AuditLog, tmp_path: Path, capsys: pytest.CaptureFixture[str], before: int
) -> None:
    for _ in range(before):
        audit.record(*FIELDS.values())
    await audit.stop()
    with (tmp_path / "opened since").open("w+b") as other:
        audit.record(*FIELDS.values())

        assert other.read() == b""

    assert "audit.unspooled" in capsys.readouterr().out
    audit._spool = Spool(tmp_path / "audit", key=b"")  # for the fixture to stop


async def test_what_is_recorded_is_counted(audit: AuditLog, metrics: Metrics) -> None:
    for count in (2, 3):
        for _ in range(count):
            audit.record(*FIELDS.values())
        await audit.move()

    assert metrics.registry.get_sample_value("audit_entries_total") == 5


async def test_under_load_every_entry_arrives_once(audit: AuditLog, database: Database) -> None:
    audit.start()

    for _ in range(50):
        for _ in range(100):
            audit.record(*FIELDS.values())
        await asyncio.sleep(0)

    await eventually(lambda: _is(database, list(range(1, 5001))), within=20)


async def test_the_rest_is_moved_at_the_end(audit: AuditLog, database: Database, tmp_path: Path) -> None:
    audit.start()
    audit.record(*FIELDS.values())

    await audit.stop()

    assert await numbers(database) == [1]
    assert list((tmp_path / "audit").iterdir()) == []
    audit._spool = Spool(tmp_path / "audit", key=b"")  # for the fixture to stop


async def _is(database: Database, expected: list[int]) -> bool:
    return await numbers(database) == expected
