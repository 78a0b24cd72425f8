"""The files in which entries wait for the table. They survive `kill -9` and outages of the database.

A process has two segments. New entries go to one while the other is moved to the table and emptied, so
neither grows as long as the database answers. The process locks both while it lives. An unlocked segment
belongs to a dead process, and any process may move it.
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
CLOSED = -1  # not a file descriptor: using it raises OSError

log = structlog.get_logger()


class Segment:
    """A file of lines, each an entry with its digest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0  # bytes written
        self.last_seq = 0  # the last number that this process wrote, or 0 for a file of a dead process
        self._file = CLOSED
        self._moved = 0  # bytes that are in the table
        self._unread = 0  # entries that this process wrote and has not read back

    def open(self, *, create: bool) -> bool:
        """Returns whether it is ours now. If not, another process holds or has moved it. Raises OSError."""
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
        """Writes the whole line or nothing. Raises OSError."""
        # At the offset, not at the end of the file: if somebody truncates the file, later lines stay whole.
        written = os.pwrite(self._file, line, self.size)
        if written < len(line):
            os.ftruncate(self._file, self.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self.size += written
        self.last_seq = seq
        self._unread += 1

    def batches(self) -> Iterator[list[bytes]]:
        """Batches of complete lines. A batch counts as moved when the next is requested. Raises OSError."""
        while text := os.pread(self._file, min(BATCH_BYTES, self.size - self._moved), self._moved):
            end = max(text.rfind(b"\n"), text.rfind(b"\0")) + 1 or len(text)
            lines = self._complete_lines(text[:end])
            yield lines
            self._moved += end
            self._unread -= len(lines)

    @property
    def lost_count(self) -> int:
        """How many entries this process wrote that were in no batch."""
        return max(self._unread, 0)

    def clear(self) -> None:
        """Raises OSError."""
        os.ftruncate(self._file, 0)
        self.size = self.last_seq = self._moved = self._unread = 0

    def close(self) -> None:
        """A later write raises OSError, instead of reaching a file that was opened meanwhile."""
        if self._file != CLOSED:
            os.close(self._file)
        self._file = CLOSED

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.close()

    def _complete_lines(self, text: bytes) -> list[bytes]:
        # If a file was truncated and written again, the gap reads as zeros. JSON escapes those of entries.
        lines = text.replace(b"\0", b"\n").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(LINE_END)]
        for line in lines if len(whole) < len(lines) else ():
            # A crash tore it: its response was never sent. If somebody tore it, `lost_count` has it.
            if not line.isspace() and not line.endswith(LINE_END):
                log.warning("audit.torn_line", path=self.path.name, length=len(line))
        return whole


class Spool:
    """The segments of this process. Touches no file until `open`."""

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
            # Another process may adopt a new file before it is locked, and then remove it.
            while not segment.open(create=True):
                pass

    @property
    def size(self) -> int:
        """Bytes of this process that wait for the table."""
        return self._active.size + self._resting.size

    @property
    def waiting_bytes(self) -> int:
        """Bytes of all processes that wait for the table, including dead ones."""
        return sum(file_size(path) for path in self.folder.glob(SPOOLS))

    def append(self, entry: Entry) -> None:
        """Raises OSError. The entry then gets no number, so there is no gap."""
        seq = self._seq + 1
        line = NumberedEntry(self.instance, seq, entry).to_line(key=self._key)
        self._active.append(line, seq=seq)
        self._seq = seq

    def rotate(self) -> Segment:
        """Returns the segment to move. New entries go to the other one."""
        if not self._resting.size:
            self._active, self._resting = self._resting, self._active
        return self._resting

    def orphans(self) -> Iterator[Segment]:
        """The segments of dead processes. Raises OSError.

        Segments of one process come in the order in which they were written, so that the table never has a
        later entry without the earlier ones.
        """
        others = set(self.folder.glob(SPOOLS)) - {self._active.path, self._resting.path}
        for _, paths in groupby(sorted(others, key=_sort_key), key=_instance_of):
            for segment in map(Segment, paths):
                if not segment.open(create=False):
                    break
                yield segment

    def close(self) -> None:
        """Leaves what still waits to the next process."""
        for segment in (self._active, self._resting):
            segment.close() if segment.size else segment.remove()


def file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0  # moved meanwhile


def _instance_of(path: Path) -> str:
    return path.name.partition(".")[0]


def _sort_key(path: Path) -> tuple[str, int]:
    try:
        with path.open("rb") as file:
            return _instance_of(path), NumberedEntry.from_line(file.readline()).seq
    except (OSError, ValueError):
        return _instance_of(path), 0  # removed meanwhile, or empty
