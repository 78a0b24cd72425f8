"""The command `worker`: delivery without an API."""

import contextlib
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from service.cli.common import configure, run

if TYPE_CHECKING:
    from service.delivery.worker import Worker
    from service.settings import Settings

HEARTBEAT = "signup-worker.alive"  # touched while the loop goes round, for a container's health check
BEAT_EVERY = 5.0  # s
MAX_ROUND = 30.0  # s; a claim is given up long before


def worker() -> None:
    """Deliver mail, without an API. Any number of workers share the work."""
    settings = configure()
    settings.require_production_values()
    run(work(settings))


async def work(settings: "Settings") -> None:
    """Returns when a signal has ended it."""
    import asyncio

    from service.cli.startup import announce
    from service.database.engine import Database
    from service.delivery.assembly import DeliverySystem
    from service.observability.metrics import Metrics
    from service.observability.shared_counters import SharedCounters
    from service.runtime.gc_tuning import tune_gc
    from service.runtime.signals import SIGNALS

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    await announce("worker", settings)
    database = Database(settings)
    metrics = Metrics()
    mailing = DeliverySystem.build(settings, database=database, metrics=metrics)
    tune_gc()
    try:
        async with SharedCounters(metrics, database=database).running(), mailing.running():
            while not stop.is_set():
                _touch_heartbeat(mailing.worker)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(BEAT_EVERY):
                        await stop.wait()
    finally:
        await database.close()


def _touch_heartbeat(worker: "Worker") -> None:
    if time.monotonic() - worker.last_round < MAX_ROUND:
        with contextlib.suppress(OSError):  # no mail waits for a /tmp that is full, foreign or missing
            (Path(tempfile.gettempdir()) / HEARTBEAT).touch()
