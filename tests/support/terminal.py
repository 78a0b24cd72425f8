"""Runs commands on a terminal, to see what people see."""

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.forks import ROOT


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
    return _shown([sys.executable, "-m", "service", *command], folder, environment or {}, columns)


def _shown(command: list[str], folder: Path, environment: Mapping[str, object], columns: int) -> Shown:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "TERM": "xterm"}
        | {name: str(value) for name, value in environment.items()},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    output = b""
    with contextlib.suppress(OSError):  # Linux raises this when the last writer has left
        while chunk := os.read(ours, 65_536):
            output += chunk
    os.close(ours)
    return Shown(output.decode(), process.wait(60))
