"""The files that entries wait in."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.audit.entries import Entry, digest, digest_key, format_timestamp_ns
from service.audit.spool import KEPT_ROOM, Segment, Spool
from service.database.json_rows import format_timestamp
from tests.support.audit import FIELDS, content, die


def spool_in(folder: Path, *, key: bytes = b"key") -> Spool:
    return Spool(folder, key=key)


def read(segment: Segment) -> list[Entry]:
    return [Entry.from_line(line)[0] for batch in segment.batches() for line in batch]


def test_entries_are_numbered_without_a_gap(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)

    for _ in range(3):
        spool.append(*FIELDS.values())

    assert [entry.seq for entry in read(spool.full_segment())] == [1, 2, 3]


def test_each_entry_carries_the_digest_of_its_fields(tmp_path: Path) -> None:
    for secret in (b"secret", b"s" * 64 + b"ecret"):
        spool = spool_in(tmp_path / secret.decode(), key=secret)
        spool.append(*FIELDS.values())

        [[line]] = list(spool.full_segment().batches())
        entry, carried = Entry.from_line(line)

        assert carried == digest(entry.payload(), key=digest_key(secret))
        assert carried != digest(entry.payload(), key=digest_key(b"another"))
        assert carried != digest(entry.payload(), key=digest_key(secret[:64] + b"other"))


def test_new_entries_go_elsewhere_while_a_segment_is_moved(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    spool.append(*FIELDS.values())
    moving = spool.full_segment()

    spool.append(*FIELDS.values())

    assert [entry.seq for entry in read(moving)] == [1]
    assert spool.full_segment() is moving
    moving.clear()
    assert [entry.seq for entry in read(spool.full_segment())] == [2]


def test_moving_goes_on_where_it_stopped(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    for _ in range(5000):
        spool.append(*FIELDS.values())
    segment = spool.full_segment()
    batches = segment.batches()
    first, interrupted = next(batches), next(batches)

    rest = read(segment)

    assert rest[0] == Entry.from_line(interrupted[0])[0]
    assert len(first) + len(rest) == 5000


def test_what_a_dead_process_left_is_found(tmp_path: Path) -> None:
    dead = spool_in(tmp_path)
    for _ in range(2):
        dead.append(*FIELDS.values())
    dead.full_segment()
    dead.append(*FIELDS.values())
    die(dead)

    found = [entry for segment in spool_in(tmp_path).orphans() for entry in read(segment)]

    assert [(entry.instance, entry.seq) for entry in found] == [(dead.instance, seq) for seq in (1, 2, 3)]


def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    living = spool_in(tmp_path)
    living.append(*FIELDS.values())

    assert list(spool_in(tmp_path).orphans()) == []


def test_only_one_process_adopts_a_segment(tmp_path: Path) -> None:
    dead = spool_in(tmp_path)
    dead.append(*FIELDS.values())
    die(dead)
    first, second = spool_in(tmp_path), spool_in(tmp_path)

    adopted = list(first.orphans())

    assert sum(len(read(segment)) for segment in adopted) == 1
    assert list(second.orphans()) == []
    for segment in adopted:
        segment.remove()
    assert list(second.orphans()) == []


@pytest.mark.parametrize("cut", [1, 10, 60, 64])
@pytest.mark.parametrize("zeros", [0, 1, 5000])
def test_a_torn_last_line_is_left_out(tmp_path: Path, cut: int, zeros: int) -> None:
    dead = spool_in(tmp_path)
    for _ in range(2):
        dead.append(*FIELDS.values())
    die(dead)
    path = dead._active.path
    path.write_bytes(content(path)[:-cut] + bytes(zeros))

    found = [entry for segment in spool_in(tmp_path).orphans() for entry in read(segment)]

    assert [entry.seq for entry in found] == [1]


def test_an_entry_that_does_not_fit_leaves_no_trace_and_no_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = spool_in(tmp_path)
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, offset: pwrite(file, data[:20], offset))
    with pytest.raises(OSError, match="No space left"):
        spool.append(*FIELDS.values())
    monkeypatch.undo()

    for _ in range(2):
        spool.append(*FIELDS.values())

    assert [entry.seq for entry in read(spool.full_segment())] == [1, 2]


def test_a_disk_that_fills_up_keeps_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = spool_in(tmp_path)
    spool.append(*FIELDS.values())
    monkeypatch.setattr(os, "pwrite", lambda *_: 0)
    written = 1 + sum(_is_spooled(spool) for _ in range(2000))
    monkeypatch.undo()

    spool.append(*FIELDS.values())

    assert 1 < written < 2000
    assert [entry.seq for entry in read(spool.full_segment())] == [*range(1, written + 2)]


def _is_spooled(spool: Spool) -> bool:
    try:
        spool.append(*FIELDS.values())
    except OSError:
        return False
    return True


def test_a_file_system_without_mappings_is_an_error_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(19, "No such device")

    spool = spool_in(tmp_path)
    monkeypatch.setattr("service.audit.spool.mmap", refused)
    for _ in range(2):
        with pytest.raises(OSError, match="No such device"):
            spool.append(*FIELDS.values())
    monkeypatch.undo()

    spool.append(*FIELDS.values())

    assert [entry.seq for entry in read(spool.full_segment())] == [1]


def test_a_segment_that_grew_gives_its_room_back(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    for _ in range(10_000):
        spool.append(*FIELDS.values())
    segment = spool.full_segment()
    assert segment.path.stat().st_size >= segment.size > KEPT_ROOM

    assert len(read(segment)) == 10_000
    segment.clear()

    assert segment.path.stat().st_size == 0
    spool.append(*FIELDS.values())
    spool.full_segment().clear()
    spool.append(*FIELDS.values())
    assert [entry.seq for entry in read(spool.full_segment())] == [10_002]


def test_a_clean_end_leaves_no_files(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    spool.append(*FIELDS.values())
    spool.full_segment().clear()

    spool.close()

    assert list(tmp_path.iterdir()) == []


def test_what_still_waits_at_the_end_stays(tmp_path: Path) -> None:
    spool = spool_in(tmp_path)
    spool.append(*FIELDS.values())

    spool.close()

    assert [len(content(path)) > 0 for path in tmp_path.iterdir()] == [True]


def test_what_waits_is_that_of_the_dead_too(tmp_path: Path) -> None:
    dead, alive = spool_in(tmp_path), spool_in(tmp_path)
    dead.append(*FIELDS.values())
    die(dead)
    assert alive.waiting == dead.size

    alive.append(*FIELDS.values())

    assert alive.waiting == dead.size + alive.size


@pytest.mark.parametrize("nanoseconds", [0, 1_795_384_925_000_000_999, 1_795_384_925_999_999_999])
def test_a_moment_is_spelled_as_it_is_everywhere(nanoseconds: int) -> None:
    microseconds = nanoseconds // 1000
    at = datetime.fromtimestamp(microseconds // 1_000_000, UTC).replace(microsecond=microseconds % 1_000_000)

    assert format_timestamp_ns(nanoseconds) == format_timestamp(at)
