"""Runs commands on a terminal, to see what people see."""

import contextlib
import fcntl
import os
import pty
import struct
import termios
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.forks import Descriptor, fork


@dataclass(frozen=True)
class Shown:
    text: str  # standard output and standard error, as the terminal shows them
    status: int

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def run_on_terminal(
    *command: str, folder: Path, environment: Mapping[str, object] | None = None, columns: int = 80
) -> Shown:
    """Runs `python -m service COMMAND` to its end, on a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    terminal = Path(os.ttyname(theirs))
    process = fork(
        command,
        folder=folder,
        environment={"TERM": "xterm", **(environment or {})},
        stdin=terminal,
        stdout=terminal,
        stderr=Descriptor(theirs),  # keeps it open until the process has opened it, too
    )
    os.close(theirs)
    output = b""
    with contextlib.suppress(OSError):  # Linux raises this when the last writer has left
        while chunk := os.read(ours, 65_536):
            output += chunk
    os.close(ours)
    process.join(60)
    assert process.exitcode is not None, "still there after a minute"
    return Shown(output.decode(), process.exitcode)
