"""`service worker`: delivery without an API."""

import asyncio
import contextlib
import signal
import tempfile
import time
from pathlib import Path

from service.database import Database
from service.mailing import Mailing
from service.memory import settle
from service.metrics import Metrics
from service.settings import Settings
from service.shutdown import SIGNALS
from service.tallies import Tallies
from service.welcome.worker import Worker

# Touched while the loop goes round, for a container's health check to look at.
HEARTBEAT = Path(tempfile.gettempdir()) / "signup-worker.alive"
BEAT_EVERY = 5.0  # s
LONGEST_ROUND = 30.0  # s; a claim is given up long before


async def work(settings: Settings) -> None:
    """Until a signal ends it."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    database = Database(settings)
    metrics = Metrics()
    mailing = Mailing.build(settings, database=database, metrics=metrics)
    settle()
    try:
        async with Tallies(metrics, database=database).running(), mailing.running():
            while not stop.is_set():
                _beat(mailing.worker)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(BEAT_EVERY):
                        await stop.wait()
    finally:
        await database.close()


def _beat(worker: Worker) -> None:
    if time.monotonic() - worker.last_round < LONGEST_ROUND:
        with contextlib.suppress(OSError):  # no mail waits for a full or foreign /tmp
            HEARTBEAT.touch()
