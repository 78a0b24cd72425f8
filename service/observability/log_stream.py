"""Standard error, for log lines. A line that cannot be written is dropped, and nothing else changes."""

import contextlib
import io
import os
import select
import stat
from typing import TextIO

WRITE_TIMEOUT = 0.25  # s to wait for whoever reads the lines; the event loop stands still meanwhile


class LogStream(io.TextIOBase):
    """Never raises: the reader of a pipe may have left, a disk may be full, a descriptor closed.

    A reader that has stopped reading is waited for once, and lines are dropped until it reads again.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._descriptor: int | None = None
        with contextlib.suppress(AttributeError, OSError, ValueError):  # there is none, or not a file
            # Our own, which nobody closes: the number might be given to a file of ours.
            self._descriptor = os.dup(stream.fileno())  # type: ignore[union-attr]  # suppressed above
        self._is_stuck = False

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                self._write(self._descriptor, text.encode("utf-8", "backslashreplace"))
        return len(text)

    def _write(self, descriptor: int, line: bytes) -> None:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        # Of what a pipe reports room for, only this much is sure not to block.
        most = len(line) if is_file else select.PIPE_BUF
        while line and self._has_room(descriptor):
            line = line[os.write(descriptor, line[:most]) :]

    def _has_room(self, descriptor: int) -> bool:
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        self._is_stuck = not poll.poll(0 if self._is_stuck else WRITE_TIMEOUT * 1000)
        return not self._is_stuck
