"""Chooses the load generator: wrk if it is installed, because it uses less CPU, else `bench.load`."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.load import CLIENTS, LAST_RESPONSE_TIMEOUT, prepare_request

SCRIPT = Path(__file__).with_name("signups.lua")


def command(port: int, *, seconds: float) -> Sequence[str]:
    """The command to run. The last line of its output is an Answers as JSON."""
    wrk = _wrk()
    if not wrk:
        return sys.executable, "-m", "bench.load", str(port), str(seconds)
    at_most = f"-d{seconds + LAST_RESPONSE_TIMEOUT:.0f}"
    options = ("-t1", f"-c{CLIENTS}", at_most, "-s", str(SCRIPT), f"http://127.0.0.1:{port}/signup")
    return wrk, *options, "--", prepare_request().decode(), str(CLIENTS), str(seconds)


def name() -> str:
    wrk = _wrk()
    if not wrk:
        return "bench.load, in Python"
    told = subprocess.run([wrk, "--version"], capture_output=True, text=True, check=False)  # noqa: S603  # our own words
    return " ".join(told.stdout.split()[:2])


def _wrk() -> str | None:
    return shutil.which("wrk") if sys.platform == "linux" else None  # whose calls the script makes
