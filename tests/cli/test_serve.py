"""`serve` and `worker` say what they run with, and end in order."""

import json
import signal
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.processes import Process

PASSWORD = "swordfish"


def lines(process: Process) -> dict[str, dict[str, object]]:
    """The log by event."""
    found = [json.loads(line) for line in process.log.splitlines() if line.endswith("}")]
    return {line["event"]: line for line in found}


@pytest.mark.parametrize("command", ["serve", "worker"])
async def test_it_says_what_it_runs_with_and_what_looks_wrong(tmp_path: Path, command: str) -> None:
    (tmp_path / ".env").write_text("SMPT_HOST=relay\n")
    database = f"postgresql://ada:{PASSWORD}@127.0.0.1:9/signup"
    process = await Process(command, folder=tmp_path, environment={"DATABASE_URL": database}).start()
    try:
        await eventually(lambda: "database.not_ready" in lines(process), within=30)
    finally:
        await process.stop()

    starting = lines(process)[f"{command}.starting"]
    assert starting["database"] == "signup at 127.0.0.1:9"
    assert starting["relay"] == "localhost:1025"
    assert starting["version"]
    if command == "serve":
        assert (starting["address"], starting["worker"]) == (process.url, True)
    assert "SMPT_HOST is no setting" in str(lines(process)["settings.ignored"]["reason"])
    reason = str(lines(process)["database.not_ready"]["reason"])
    assert reason.startswith("The database signup at 127.0.0.1:9 cannot be used: ")
    assert PASSWORD not in process.log


@pytest.mark.parametrize("command", [["serve"], ["serve", "--workers", "2"], ["worker"]])
async def test_a_hangup_ends_it_in_order(tmp_path: Path, command: list[str]) -> None:
    process = await Process(*command, folder=tmp_path, environment={}).start()
    if "serve" in command:
        await process.ready(within=30)
    else:
        await eventually(lambda: "worker." in process.log, within=30)

    process.signal(signal.SIGHUP)

    assert await process.ended() == 0
    assert "Traceback" not in process.log
