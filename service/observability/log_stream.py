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
        self._most: int | None = None  # bytes of one write; None if no write can block
        self._is_stuck = False
        with contextlib.suppress(AttributeError, OSError, ValueError):  # there is none, or not a file
            # Our own, which nobody closes: the number might be given to a file of ours.
            self._descriptor = os.dup(stream.fileno())  # type: ignore[union-attr]  # suppressed above
            if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                # Of what a pipe reports room for, only this much is sure not to block.
                self._most = select.PIPE_BUF

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                self._write(self._descriptor, text.encode("utf-8", "backslashreplace"))
        return len(text)

    def _write(self, descriptor: int, line: bytes) -> None:
        while line and self._has_room(descriptor):
            line = line[os.write(descriptor, line[: self._most]) :]

    def _has_room(self, descriptor: int) -> bool:
        poll = select.poll()  # for this call alone: threads cannot share one
        poll.register(descriptor, select.POLLOUT)
        self._is_stuck = not poll.poll(0 if self._is_stuck else WRITE_TIMEOUT * 1000)
        return not self._is_stuck
