"""An outage is logged once, then seldom, however many loops meet it."""

import time
from pathlib import Path

import pytest
import structlog

from service.database import outage_log as module
from service.database.outage_log import OutageLog
from tests.support.eventually import eventually
from tests.support.processes import Process


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_an_outage_has_one_line_then_few_and_one_at_its_end(clock: list[float]) -> None:
    outages = OutageLog("engines at db:5432")
    with structlog.testing.capture_logs() as lines:
        for _ in range(600):
            clock[0] += 1
            for part in ("worker", "limits", "counters"):
                outages.report(part, "connection refused")
        outages.recover("worker")
        outages.recover("limits")
        outages.recover("counters")
        outages.recover("worker")

    assert [line["event"] for line in lines] == ["database.unavailable"] * 2 + ["database.available"]
    assert lines[0]["database"] == "engines at db:5432"


def test_another_reason_has_a_line_of_its_own(clock: list[float]) -> None:
    outages = OutageLog("engines at db:5432")
    with structlog.testing.capture_logs() as lines:
        for reason in ("connection refused", "it was not migrated"):
            outages.report("worker", reason)
            clock[0] += module.QUIET_FOR

    assert [line["reason"] for line in lines] == ["connection refused", "it was not migrated"]


def test_a_database_that_comes_and_goes_does_not_flood(clock: list[float]) -> None:
    outages = OutageLog("engines at db:5432")
    with structlog.testing.capture_logs() as lines:
        for _ in range(60):
            clock[0] += 0.5
            outages.report("worker", "connection refused")
            outages.recover("worker")

    assert len(lines) <= 8


@pytest.mark.parametrize("command", ["serve", "worker"])
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:///empty.db", "signup-service migrate"),
        ("postgresql://ada@127.0.0.1:9/engines", "engines at 127.0.0.1:9"),
    ],
)
async def test_a_process_without_its_database_says_so_and_no_more(
    command: str, url: str, words: str, tmp_path: Path
) -> None:
    constants = {
        "service.delivery.worker.LOOK_EVERY": 0.1,
        "service.observability.shared_counters.WRITE_EVERY": 0.1,
    }
    process = Process(command, folder=tmp_path, environment={"DATABASE_URL": url}, constants=constants)
    await process.start()
    try:
        await eventually(lambda: "database.unavailable" in process.log, within=30)
        before = process.log
        assert words in before

        await eventually(lambda: process.alive and _is_older(tmp_path, seconds=1), within=30)

        assert process.log.count("\n") - before.count("\n") <= 1
        # What it runs with, that nothing can be stored, and that its loops wait.
        assert len(process.log.splitlines()) <= 3
    finally:
        await process.stop()


def _is_older(folder: Path, *, seconds: float) -> bool:
    return time.time() - (folder / "stderr").stat().st_mtime > seconds
