"""The files that entries wait in: they survive `kill -9`, and a database that is away.

A process has two segments. One takes new entries while the other is moved to the table and then
emptied, so neither grows as long as the database answers. Both are locked for as long as the
process lives; a segment whose lock is free belongs to a dead one, and any process may move it.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from uuid import uuid4

import structlog

from service.audit.entries import Entry, NumberedEntry, digest_key
from service.runtime.private_files import create_private_folder

BATCH_BYTES = 300_000
LINE_END = b'"]\n'
SPOOLS = "*.spool"
CLOSED = -1  # no file descriptor: the system refuses it with an OSError

log = structlog.get_logger()


class Segment:
    """A file of lines, each an entry with its digest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0  # bytes, of what was written
        self.last_seq = 0  # what this process wrote last, or 0 if a dead process wrote the file
        self._file = CLOSED
        self._moved = 0  # bytes that the table has
        self._unread = 0  # entries that this process wrote and has not read again

    def open(self, *, create: bool) -> bool:
        """Whether it is ours now. Else another process has it, or has moved it meanwhile. Raises OSError."""
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        try:
            self._file = os.open(self.path, flags, 0o600)
        except FileNotFoundError:
            if create:
                raise
            return False
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            return False
        found = os.fstat(self._file)
        self.size = found.st_size
        if not found.st_nlink:
            self.close()
        return self._file != CLOSED

    def append(self, line: bytes, *, seq: int) -> None:
        """All of the line or nothing. Raises OSError."""
        # At the offset and not at the file's end: if somebody cuts the file, what comes later stays whole.
        written = os.pwrite(self._file, line, self.size)
        if written < len(line):
            os.ftruncate(self._file, self.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self.size += written
        self.last_seq = seq
        self._unread += 1

    def batches(self) -> Iterator[list[bytes]]:
        """Lines that are whole. A batch counts as moved when the next one is asked for. Raises OSError."""
        while text := os.pread(self._file, min(BATCH_BYTES, self.size - self._moved), self._moved):
            end = max(text.rfind(b"\n"), text.rfind(b"\0")) + 1 or len(text)
            lines = self._whole_lines(text[:end])
            yield lines
            self._moved += end
            self._unread -= len(lines)

    @property
    def lost(self) -> int:
        """Entries that this process wrote and that all batches together did not have."""
        return max(self._unread, 0)

    def clear(self) -> None:
        """Raises OSError."""
        os.ftruncate(self._file, 0)
        self.size = self.last_seq = self._moved = self._unread = 0

    def close(self) -> None:
        """A late entry meets an OSError, and not a file that was opened since."""
        if self._file != CLOSED:
            os.close(self._file)
        self._file = CLOSED

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.close()

    def _whole_lines(self, text: bytes) -> list[bytes]:
        # Where a file was cut and written on, the gap reads as zeros. No entry has any: JSON escapes them.
        lines = text.replace(b"\0", b"\n").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(LINE_END)]
        for line in lines if len(whole) < len(lines) else ():
            # Torn by a crash, its answer was never given; torn by somebody, `lost` counts it.
            if not line.isspace() and not line.endswith(LINE_END):
                log.warning("audit.torn_line", path=self.path.name, length=len(line))
        return whole


class Spool:
    """The segments of this process. Touches no file before it is opened."""

    def __init__(self, folder: Path, *, secret: bytes) -> None:
        self.folder = folder
        self.instance = uuid4().hex
        self._key = digest_key(secret)
        self._seq = 0
        self._active, self._resting = (
            Segment(folder / f"{self.instance}.{number}.spool") for number in (0, 1)
        )

    def open(self) -> None:
        """Raises OSError if the folder cannot be written."""
        create_private_folder(self.folder)
        for segment in (self._active, self._resting):
            # Somebody may adopt a new file between its creation and its lock, and then removes it.
            while not segment.open(create=True):
                pass

    @property
    def size(self) -> int:
        """Bytes of this process that wait."""
        return self._active.size + self._resting.size

    @property
    def waiting(self) -> int:
        """Bytes of all processes that wait, those that died included."""
        return sum(file_size(path) for path in self.folder.glob(SPOOLS))

    def append(self, entry: Entry) -> None:
        """Raises OSError; the entry then has no number, and leaves no gap."""
        seq = self._seq + 1
        line = NumberedEntry(self.instance, seq, entry).to_line(key=self._key)
        self._active.append(line, seq=seq)
        self._seq = seq

    def segment_to_move(self) -> Segment:
        """New entries go to the other one."""
        if not self._resting.size:
            self._active, self._resting = self._resting, self._active
        return self._resting

    def orphans(self) -> Iterator[Segment]:
        """The segments of dead processes. Raises OSError.

        Those of one process in the order in which they were written, whoever adopts them: the table then
        never has a later one without an earlier one.
        """
        others = set(self.folder.glob(SPOOLS)) - {self._active.path, self._resting.path}
        for _, paths in groupby(sorted(others, key=_place), key=_instance):
            for segment in map(Segment, paths):
                if not segment.open(create=False):
                    break
                yield segment

    def close(self) -> None:
        """What still waits stays for the next process."""
        for segment in (self._active, self._resting):
            segment.close() if segment.size else segment.remove()


def file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0  # moved meanwhile


def _instance(path: Path) -> str:
    return path.name.partition(".")[0]


def _place(path: Path) -> tuple[str, int]:
    try:
        with path.open("rb") as file:
            return _instance(path), NumberedEntry.from_line(file.readline()).seq
    except (OSError, ValueError):
        return _instance(path), 0  # gone meanwhile, or empty
