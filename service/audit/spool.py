"""The files that entries wait in: they survive `kill -9`, and a database that is away.

A process has two segments. One takes new entries while the other is moved to the table and then
emptied, so neither grows as long as the database answers. Both are locked for as long as the
process lives; a segment whose lock is free belongs to a dead one, and any process may move it.
"""

import errno
import fcntl
import os
from bisect import bisect_left
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import structlog

from service.audit.entries import Entry, digest_key, spooled

STEP = 256 * 1024  # bytes by which a segment grows
KEPT_ROOM = 4 * STEP  # of a segment that has been emptied
BATCH_BYTES = 300_000
LINE_END = b'"]\n'
SPOOLS = "*.spool"

log = structlog.get_logger()


class Segment:
    """A file of lines, each an entry with its digest, and zeros behind them.

    It is written through a mapping, which survives the process as a written file does: a system
    call for each entry was a thirtieth of a busy core. What is mapped has been written before,
    zeros at least, so that a full disk is an error here and not a signal that ends the process -
    but for Btrfs, which needs room to overwrite: there it is as after `kill -9`.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._moved = 0  # bytes that the table has
        self._room = 0  # bytes, mapped
        self._map_file()
        self.size = self._room  # of a dead process's file the end of its lines is not known

    @classmethod
    def open(cls, path: Path, *, create: bool) -> Self | None:
        """None if another process has it, or had it and has moved it meanwhile."""
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        try:
            descriptor = os.open(path, flags, 0o600)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if os.fstat(descriptor).st_nlink == 0:
            os.close(descriptor)
            return None
        return cls(path, descriptor)

    def append(self, line: bytes) -> None:
        """All of the line or nothing. Raises OSError."""
        end = self.size + len(line)
        if end > self._room:
            self._grow()
        self._map[self.size : end] = line
        self.size = end

    def batches(self) -> Iterator[list[bytes]]:
        """Lines that are whole. A batch counts as moved when the next one is asked for."""
        while text := self._text(self._moved, min(self._moved + BATCH_BYTES, self.size)):
            end = text.rfind(b"\n") + 1 or len(text)
            yield [line for line in text[:end].splitlines(keepends=True) if self._is_whole(line)]
            self._moved += end

    def clear(self) -> None:
        if self._room > KEPT_ROOM:  # the database was away for long
            os.ftruncate(self._descriptor, 0)
            self._map.close()
            self._map_file()
        elif self.size:
            self._map[: self.size] = bytes(self.size)
        self._moved = self.size = 0

    def close(self) -> None:
        """A late entry meets an OSError, and not a file that was opened since."""
        if self._room:
            self._map.close()
        os.close(self._descriptor)
        self._room, self._descriptor = 0, -1

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.close()

    def _map_file(self) -> None:
        room = os.fstat(self._descriptor).st_size
        if room:
            self._map = mmap(self._descriptor, room)
        self._room = room

    def _grow(self) -> None:
        if os.pwrite(self._descriptor, bytes(STEP), self._room) < STEP:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self._map_file()

    def _text(self, start: int, end: int) -> bytes:
        return self._map[start:end].rstrip(b"\0") if start < end else b""

    def _is_whole(self, line: bytes) -> bool:
        # Torn by a crash: its last byte was not written, so its answer was never given.
        if is_whole := line.endswith(LINE_END):
            return is_whole
        log.warning("audit.torn_line", path=self.path.name, length=len(line))
        return is_whole


class Spool:
    """The segments of this process. Raises OSError if the folder cannot be written."""

    def __init__(self, folder: Path, *, key: bytes) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = digest_key(key)
        self.instance = uuid4().hex
        self._seq = 0
        self._active, self._resting = self._own_segments()

    @property
    def size(self) -> int:
        """Bytes of this process that wait."""
        return self._active.size + self._resting.size

    @property
    def waiting(self) -> int:
        """Bytes of all processes that wait, those that died included."""
        return sum(content_length(path) for path in self._folder.glob(SPOOLS))

    def append(self, *fields: Any) -> None:
        """`fields` are those of Entry behind `seq`. Raises OSError; the entry then has no number, and
        leaves no gap."""
        entry = (self.instance, self._seq + 1, *fields)
        self._active.append(spooled(entry, key=self._key))
        self._seq += 1

    def full_segment(self) -> Segment:
        """The one to move now. New entries go to the other."""
        if not self._resting.size:
            self._active, self._resting = self._resting, self._active
        return self._resting

    def orphans(self) -> Iterator[Segment]:
        """The segments of dead processes, in the order in which they were written."""
        others = set(self._folder.glob(SPOOLS)) - {self._active.path, self._resting.path}
        for path in sorted(others, key=_first_seq):
            if segment := Segment.open(path, create=False):
                yield segment

    def close(self) -> None:
        """What still waits stays for the next process."""
        for segment in (self._active, self._resting):
            if not segment.size:
                segment.remove()

    def _own_segments(self) -> tuple[Segment, Segment]:
        first, second = (
            Segment.open(self._folder / f"{self.instance}.{number}.spool", create=True) for number in (0, 1)
        )
        if first and second:
            return first, second
        # Somebody adopted the new file between its creation and its lock.
        self.instance = uuid4().hex
        return self._own_segments()


def content_length(path: Path) -> int:
    """Bytes of its lines; zeros stand only behind them."""
    try:
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            return bisect_left(range(len(content)), True, key=lambda at: content[at] == 0)
    except (OSError, ValueError):
        return 0  # moved meanwhile, or empty


def _first_seq(path: Path) -> tuple[str, int]:
    instance = path.name.partition(".")[0]
    try:
        with path.open("rb") as file:
            return instance, Entry.from_line(file.readline())[0].seq
    except (OSError, ValueError):
        return instance, 0  # gone meanwhile, or empty
