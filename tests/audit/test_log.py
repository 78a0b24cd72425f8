"""From the spool to the table, each entry exactly once."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from service.audit.heads import Heads
from service.audit.log import AuditLog
from service.audit.retention import prune
from service.audit.spool import Spool
from service.database.engine import Database, DatabaseUnavailable
from service.observability.metrics import Metrics
from service.settings import InvalidSettings
from tests.support.audit import ENTRY, audit_log, die, entry_of, faults, open_spool, opened
from tests.support.database import rows
from tests.support.eventually import eventually


@pytest.fixture
async def audit(database: Database, tmp_path: Path, metrics: Metrics) -> AsyncIterator[AuditLog]:
    """Open, and nothing is moved by itself."""
    async with opened(audit_log(database, tmp_path / "audit", metrics=metrics)) as audit:
        yield audit


@pytest.fixture
async def running(database: Database, tmp_path: Path, metrics: Metrics) -> AsyncIterator[AuditLog]:
    audit = audit_log(database, tmp_path / "audit", metrics=metrics)
    async with audit.running():
        yield audit


async def numbers(database: Database) -> list[int]:
    return [row["seq"] for row in await rows(database, "SELECT seq FROM audit_log ORDER BY seq")]


async def test_entries_reach_the_table_by_themselves(running: AuditLog, database: Database) -> None:
    for _ in range(3):
        running.record(ENTRY)

    await eventually(lambda: _is(database, [1, 2, 3]))


async def test_the_instance_knows_what_the_table_should_hold(audit: AuditLog, database: Database) -> None:
    for count in (2, 3):
        for _ in range(count):
            audit.record(ENTRY)
        await audit.move()

    [instance] = await rows(database, "SELECT * FROM audit_instances")
    assert (instance["first_seq"], instance["last_seq"]) == (1, 5)


async def test_what_a_dead_process_left_is_moved_once(
    audit: AuditLog, database: Database, tmp_path: Path
) -> None:
    dead = open_spool(tmp_path / "audit")
    for _ in range(3):
        dead.append(ENTRY)
    die(dead)

    assert await audit.adopt() == 3
    assert await audit.adopt() == 0

    assert await numbers(database) == [1, 2, 3]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_two_processes_adopt_what_one_left_in_either_order(
    audit: AuditLog, database: Database, tmp_path: Path, order: tuple[int, int]
) -> None:
    dead = open_spool(tmp_path / "audit")
    for _ in range(3):
        dead.append(ENTRY)
    dead.rotate()
    for _ in range(3):
        dead.append(ENTRY)
    die(dead)
    segments = (dead._resting, dead._active)

    for number in order:
        other = audit_log(database, tmp_path / str(number))
        async with opened(other):
            shutil.move(segments[number].path, tmp_path / str(number))
            assert await other.adopt() == 3

    assert await numbers(database) == [1, 2, 3, 4, 5, 6]
    assert await faults(database) == []


async def test_entries_that_retention_deleted_do_not_come_back(
    audit: AuditLog, database: Database, tmp_path: Path
) -> None:
    dead = open_spool(tmp_path / "audit")
    for age in (9, 9, 0):
        dead.append(entry_of(timedelta(days=age)))
    path, lines = dead._active.path, dead._active.path.read_bytes()
    die(dead)
    await audit.adopt()
    await prune(Heads(database, secret=b""), keep=timedelta(days=5))
    path.write_bytes(lines)  # as if the process had died between the commit and the removal

    await audit.adopt()

    assert await numbers(database) == [3]
    assert await faults(database) == []


async def test_an_adoption_that_failed_can_be_tried_again(
    audit: AuditLog, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = open_spool(tmp_path / "audit")
    dead.append(ENTRY)
    die(dead)

    async def away(*_: object) -> None:
        raise DatabaseUnavailable("starting")

    with monkeypatch.context() as patch:
        patch.setattr(AuditLog, "_load", away)
        with pytest.raises(DatabaseUnavailable):
            await audit.adopt()

    assert await audit.adopt() == 1
    assert await numbers(database) == [1]


async def test_entries_that_are_moved_twice_are_stored_once(
    audit: AuditLog, database: Database, tmp_path: Path
) -> None:
    dead = open_spool(tmp_path / "audit")
    for _ in range(3):
        dead.append(ENTRY)
    path = dead._active.path
    lines = path.read_bytes()
    die(dead)
    await audit.adopt()
    path.write_bytes(lines)  # as if the process had died between the commit and the removal

    await audit.adopt()

    assert await numbers(database) == [1, 2, 3]


@pytest.mark.parametrize("engine_name", ["postgresql"])  # SQLite takes text of any length
async def test_an_entry_that_the_database_rejects_does_not_hold_up_the_others(
    audit: AuditLog, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = open_spool(tmp_path / "audit")
    for network in ("192.0.2.0/24", "x" * 44, "192.0.2.0/24", "192.0.2.0/24"):
        dead.append(ENTRY._replace(client_network=network))
    die(dead)

    await audit.adopt()

    assert await numbers(database) == [1, 3, 4]
    assert f'"{"x" * 44}"' in capsys.readouterr().out, "it is in the log instead"


async def test_a_damaged_line_does_not_hold_up_the_others(
    audit: AuditLog, database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = open_spool(tmp_path / "audit")
    for _ in range(3):
        dead.append(ENTRY)
    path = dead._active.path
    die(dead)
    first, second, third = path.read_bytes().splitlines(keepends=True)
    for damaged in (second.replace(b"GET", b"G\0T"), second.replace(b",", b"", 1), second[9:]):
        path.write_bytes(first + damaged + third)

        await audit.adopt()

        assert await numbers(database) == [1, 3]
        assert "entries=1 event='audit.unreadable'" in capsys.readouterr().out


async def test_a_line_that_is_no_csv_is_stored_as_it_is(audit: AuditLog, database: Database) -> None:
    odd = ['a "quoted" \\ method', "null", "a,b", "", "\\."]
    for method in odd:
        audit.record(ENTRY._replace(method=method, route=None))

    await audit.move()

    found = await rows(database, "SELECT method, route FROM audit_log ORDER BY seq")
    assert [(row["method"], row["route"]) for row in found] == [(method, None) for method in odd]


async def test_while_the_database_is_away_entries_wait(
    running: AuditLog, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = AuditLog._load

    async def away(*_: object) -> None:
        raise DatabaseUnavailable("restarting")

    monkeypatch.setattr(AuditLog, "_load", away)
    monkeypatch.setattr("service.audit.log.TRY_AGAIN_AFTER", 0.01)
    running.record(ENTRY)
    await eventually(lambda: running.trouble)

    monkeypatch.setattr(AuditLog, "_load", insert)

    await eventually(lambda: _is(database, [1]))
    await eventually(lambda: running.trouble is None)


@pytest.mark.parametrize(
    ("failure", "event"),
    [(DatabaseUnavailable("starting"), "database.unavailable"), (OSError("disk"), "audit.cleanup_failed")],
)
async def test_it_cleans_up_by_itself_and_again_after_a_failure(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failure: Exception,
    event: str,
) -> None:
    failures = [failure, failure]

    async def prune_later(heads: Heads, *, keep: timedelta) -> int:
        if failures:
            raise failures.pop()
        return await prune(heads, keep=keep)

    monkeypatch.setattr("service.audit.log.prune", prune_later)
    monkeypatch.setattr("service.audit.log.CLEAN_UP_EVERY", 0.01)
    dead = open_spool(tmp_path / "audit")
    for age in (9, 0):
        dead.append(entry_of(timedelta(days=age)))
    die(dead)

    async with audit_log(database, tmp_path / "audit", keep=timedelta(days=5)).running():
        await eventually(lambda: _is(database, [2]), within=30)

    logged = capsys.readouterr().out
    assert logged.count(event) == 1
    assert logged.count("failed") + logged.count("unavailable") == 1  # an outage is not reported twice


async def test_an_entry_that_cannot_be_spooled_goes_to_the_log_and_is_counted(
    audit: AuditLog, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "append", full)

    audit.record(ENTRY)

    assert "audit.unspooled" in capsys.readouterr().out
    assert metrics.shared.get_sample_value("audit_entries_unspooled_total") == 1
    assert audit.trouble


@pytest.mark.parametrize("before", [0, 1])
async def test_an_entry_that_comes_after_the_end_goes_to_the_log(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str], before: int
) -> None:
    audit = audit_log(database, tmp_path / "audit")
    async with audit.running():
        for _ in range(before):
            audit.record(ENTRY)
    with (tmp_path / "opened since").open("w+b") as other:
        audit.record(ENTRY)

        assert other.read() == b""

    assert "audit.unspooled" in capsys.readouterr().out


async def test_what_is_recorded_is_counted(audit: AuditLog, metrics: Metrics) -> None:
    for count in (2, 3):
        for _ in range(count):
            audit.record(ENTRY)
        await audit.move()

    assert metrics.shared.get_sample_value("audit_entries_total") == 5


async def test_under_load_every_entry_arrives_once(running: AuditLog, database: Database) -> None:
    for _ in range(50):
        for _ in range(100):
            running.record(ENTRY)
        await asyncio.sleep(0)

    await eventually(lambda: _is(database, list(range(1, 5001))), within=20)


async def test_the_rest_is_moved_at_the_end(database: Database, tmp_path: Path) -> None:
    audit = audit_log(database, tmp_path / "audit")
    async with audit.running():
        audit.record(ENTRY)

    assert await numbers(database) == [1]
    assert list((tmp_path / "audit").iterdir()) == []


async def test_both_segments_are_moved_at_the_end(database: Database, tmp_path: Path) -> None:
    audit = audit_log(database, tmp_path / "audit")
    async with audit.running():
        audit.record(ENTRY)
        audit._spool.rotate()
        audit.record(ENTRY)

    assert await numbers(database) == [1, 2]


async def test_no_file_is_touched_before_it_runs(database: Database, tmp_path: Path) -> None:
    audit = audit_log(database, tmp_path / "audit")
    assert not (tmp_path / "audit").exists()

    async with audit.running():
        assert len(list((tmp_path / "audit").iterdir())) == 2


async def test_a_folder_that_cannot_be_written_is_named_at_the_start(
    database: Database, tmp_path: Path
) -> None:
    (tmp_path / "audit").write_text("a file")

    with pytest.raises(InvalidSettings, match=r"audit cannot be written .*DATA_DIR"):
        async with audit_log(database, tmp_path / "audit").running():
            pass


async def _is(database: Database, expected: list[int]) -> bool:
    return await numbers(database) == expected
