"""What makes the load: wrk where it is installed, as it takes less of the machine, else `bench.load`."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.load import CLIENTS, PATIENCE, prepared

SCRIPT = Path(__file__).with_name("signups.lua")


def command(port: int, *, seconds: float) -> Sequence[str]:
    """Its last line is an Answers as JSON."""
    wrk = _wrk()
    if not wrk:
        return sys.executable, "-m", "bench.load", str(port), str(seconds)
    at_most = f"-d{seconds + PATIENCE:.0f}"
    options = ("-t1", f"-c{CLIENTS}", at_most, "-s", str(SCRIPT), f"http://127.0.0.1:{port}/signup")
    return wrk, *options, "--", prepared().decode(), str(CLIENTS), str(seconds)


def name() -> str:
    wrk = _wrk()
    if not wrk:
        return "bench.load, in Python"
    told = subprocess.run([wrk, "--version"], capture_output=True, text=True, check=False)  # noqa: S603  # our own words
    return " ".join(told.stdout.split()[:2])


def _wrk() -> str | None:
    return shutil.which("wrk") if sys.platform == "linux" else None  # whose calls the script makes
