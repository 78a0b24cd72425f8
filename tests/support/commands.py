"""Runs the commands as somebody types them."""

import subprocess
import sys
from pathlib import Path

from tests.support.processes import ROOT


def run(
    *command: str, folder: Path, typed: object = "", **environment: object
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service", *command],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        | {name: str(value) for name, value in environment.items()},
        input=str(typed),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
