"""The files that entries wait in."""

import fcntl
import json
import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.audit.entries import NumberedEntry, digest, digest_key, format_timestamp_ns
from service.audit.spool import BATCH_BYTES, Segment
from service.database.json_rows import format_timestamp
from tests.support.audit import ENTRY, die, open_spool


def read(segment: Segment) -> list[NumberedEntry]:
    return [NumberedEntry.from_line(line) for batch in segment.batches() for line in batch]


def test_entries_are_numbered_without_a_gap(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)

    for _ in range(3):
        spool.append(ENTRY)

    assert [entry.seq for entry in read(spool.rotate())] == [1, 2, 3]


def test_each_entry_carries_the_digest_of_its_fields(tmp_path: Path) -> None:
    for secret in (b"secret", b"s" * 64 + b"ecret"):
        spool = open_spool(tmp_path / secret.decode(), secret=secret)
        spool.append(ENTRY)

        [[line]] = list(spool.rotate().batches())
        entry, carried = NumberedEntry.from_line(line), json.loads(line)[-1]

        assert carried == digest(entry.payload(), key=digest_key(secret))
        assert carried != digest(entry.payload(), key=digest_key(b"another"))
        assert carried != digest(entry.payload(), key=digest_key(secret[:64] + b"other"))


def test_new_entries_go_elsewhere_while_a_segment_is_moved(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    spool.append(ENTRY)
    moving = spool.rotate()

    spool.append(ENTRY)

    assert [entry.seq for entry in read(moving)] == [1]
    assert spool.rotate() is moving
    moving.clear()
    assert [entry.seq for entry in read(spool.rotate())] == [2]


def test_moving_goes_on_where_it_stopped(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    for _ in range(5000):
        spool.append(ENTRY)
    segment = spool.rotate()
    batches = segment.batches()
    first, interrupted = next(batches), next(batches)

    rest = read(segment)

    assert rest[0] == NumberedEntry.from_line(interrupted[0])
    assert len(first) + len(rest) == 5000


def test_what_a_dead_process_left_is_found(tmp_path: Path) -> None:
    dead = open_spool(tmp_path)
    for _ in range(2):
        dead.append(ENTRY)
    dead.rotate()
    dead.append(ENTRY)
    die(dead)

    found = [entry for segment in open_spool(tmp_path).orphans() for entry in read(segment)]

    assert [(entry.instance, entry.seq) for entry in found] == [(dead.instance, seq) for seq in (1, 2, 3)]


def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    living = open_spool(tmp_path)
    living.append(ENTRY)

    assert list(open_spool(tmp_path).orphans()) == []


def test_only_one_process_adopts_a_segment(tmp_path: Path) -> None:
    dead = open_spool(tmp_path)
    dead.append(ENTRY)
    die(dead)
    first, second = open_spool(tmp_path), open_spool(tmp_path)

    adopted = list(first.orphans())

    assert sum(len(read(segment)) for segment in adopted) == 1
    assert list(second.orphans()) == []
    for segment in adopted:
        segment.remove()
    assert list(second.orphans()) == []


@pytest.mark.parametrize("create", [False, True])
def test_a_file_that_another_process_moved_and_removed_meanwhile_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, create: bool
) -> None:
    segment = Segment(tmp_path / "one.spool")
    segment.path.touch()
    flock = fcntl.flock

    def too_late(descriptor: int, operation: int) -> None:
        segment.path.unlink()
        flock(descriptor, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", too_late)
        assert not segment.open(create=create)

    assert segment.open(create=True)
    assert segment.path.exists()


def test_nobody_else_can_read_what_waits(tmp_path: Path) -> None:
    spool = open_spool(tmp_path / "audit")

    assert {stat.S_IMODE(path.stat().st_mode) for path in spool.folder.iterdir()} == {0o600}


@pytest.mark.parametrize("cut", [2, 10, 60, 64])
@pytest.mark.parametrize("zeros", [0, 1, 5000])
def test_a_torn_last_line_is_left_out(tmp_path: Path, cut: int, zeros: int) -> None:
    dead = open_spool(tmp_path)
    for _ in range(2):
        dead.append(ENTRY)
    die(dead)
    path = dead._active.path
    path.write_bytes(path.read_bytes()[:-cut] + bytes(zeros))

    found = [entry for segment in open_spool(tmp_path).orphans() for entry in read(segment)]

    assert [entry.seq for entry in found] == [1]


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """As on a full disk: what fits is written, and then nothing more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 20])
def test_an_entry_that_does_not_fit_leaves_no_trace_and_no_gap(tmp_path: Path, room: int) -> None:
    spool = open_spool(tmp_path)
    spool.append(ENTRY)
    path, before = spool._active.path, spool._active.path.read_bytes()
    with files_no_larger_than(len(before) + room):
        for _ in range(2):
            with pytest.raises(OSError, match=r"No space left|File too large"):
                spool.append(ENTRY)
    assert path.read_bytes() == before

    spool.append(ENTRY)

    assert [entry.seq for entry in read(spool.rotate())] == [1, 2]


@pytest.mark.parametrize("left", [0, 1, 300, 600])
def test_what_is_written_after_a_file_was_cut_is_whole(tmp_path: Path, left: int) -> None:
    spool = open_spool(tmp_path)
    for _ in range(3):
        spool.append(ENTRY)
    length = spool.size // 3
    os.truncate(spool._active.path, left)

    for _ in range(2):
        spool.append(ENTRY)
    segment = spool.rotate()

    whole = [*range(1, 1 + left // length), 4, 5]
    assert [entry.seq for entry in read(segment)] == whole
    assert segment.lost_count == 5 - len(whole)
    segment.clear()
    assert (segment.size, segment.lost_count, segment.last_seq) == (0, 0, 0)  # told once, and no more


def test_a_long_gap_costs_no_line_behind_it(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    while spool.size < BATCH_BYTES - 100:  # so that the next line stands across the end of a batch
        spool.append(ENTRY)
    lost = spool._seq
    os.truncate(spool._active.path, 0)

    spool.append(ENTRY)
    segment = spool.rotate()

    assert [entry.seq for entry in read(segment)] == [lost + 1]
    assert segment.lost_count == lost


def test_one_process_segments_are_adopted_in_their_order(tmp_path: Path) -> None:
    dead = open_spool(tmp_path)
    dead.append(ENTRY)
    dead.rotate()
    dead.append(ENTRY)
    die(dead)
    first, second = open_spool(tmp_path), open_spool(tmp_path)

    adopting = first.orphans()
    earlier = next(adopting)

    assert [entry.seq for entry in read(earlier)] == [1]
    assert list(second.orphans()) == []  # the later one waits, although nobody has it
    earlier.remove()
    assert [entry.seq for segment in second.orphans() for entry in read(segment)] == [2]


def test_a_segment_that_grew_gives_its_room_back(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    for _ in range(10_000):
        spool.append(ENTRY)
    segment = spool.rotate()

    assert len(read(segment)) == 10_000
    segment.clear()

    assert segment.path.stat().st_size == 0
    spool.append(ENTRY)
    spool.rotate().clear()
    spool.append(ENTRY)
    assert [entry.seq for entry in read(spool.rotate())] == [10_002]


def test_a_clean_end_leaves_no_files(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    spool.append(ENTRY)
    spool.rotate().clear()

    spool.close()

    assert list(tmp_path.iterdir()) == []


def test_what_still_waits_at_the_end_stays(tmp_path: Path) -> None:
    spool = open_spool(tmp_path)
    spool.append(ENTRY)

    spool.close()

    assert [len(path.read_bytes()) > 0 for path in tmp_path.iterdir()] == [True]


def test_what_waits_is_that_of_the_dead_too(tmp_path: Path) -> None:
    dead, alive = open_spool(tmp_path), open_spool(tmp_path)
    dead.append(ENTRY)
    die(dead)
    assert alive.waiting_bytes == dead.size

    alive.append(ENTRY)

    assert alive.waiting_bytes == dead.size + alive.size


@pytest.mark.parametrize("nanoseconds", [0, 1_795_384_925_000_000_999, 1_795_384_925_999_999_999])
def test_a_moment_is_spelled_as_it_is_everywhere(nanoseconds: int) -> None:
    microseconds = nanoseconds // 1000
    at = datetime.fromtimestamp(microseconds // 1_000_000, UTC).replace(microsecond=microseconds % 1_000_000)

    assert format_timestamp_ns(nanoseconds) == format_timestamp(at)
