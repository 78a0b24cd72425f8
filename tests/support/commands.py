"""Runs the commands as somebody types them."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.forks import ROOT, fork

READ_BY_PYTHON = {"LC_ALL", "LANG"}  # when it starts


def run(
    *command: str, folder: Path, typed: object = "", **environment: object
) -> subprocess.CompletedProcess[str]:
    """To its end."""
    variables = {"COLUMNS": "200", **{name: str(value) for name, value in environment.items()}}
    if variables.keys() & READ_BY_PYTHON:
        return _execute(command, folder, str(typed), variables)
    with TemporaryDirectory() as streams:
        stdin, stdout, stderr = (Path(streams) / name for name in ("stdin", "stdout", "stderr"))
        stdin.write_text(str(typed))
        process = fork(
            command, folder=folder, environment=variables, stdin=stdin, stdout=stdout, stderr=stderr
        )
        process.join(60)
        assert process.exitcode is not None, "still there after a minute"
        return subprocess.CompletedProcess(command, process.exitcode, stdout.read_text(), stderr.read_text())


def run_program(program: str, *, folder: Path, **environment: object) -> str:
    """What it writes to standard error."""
    stderr = folder / "stderr"
    process = fork(
        ("-c", program), folder=folder, environment=environment, stdout=Path(os.devnull), stderr=stderr
    )
    process.join(60)
    assert process.exitcode == 0, stderr.read_text()
    return stderr.read_text()


def _execute(
    command: tuple[str, ...], folder: Path, typed: str, variables: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service", *command],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), **variables},
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
