"""The command `worker`: delivery without an API."""

import contextlib
import signal
import tempfile
import time
from collections.abc import Sequence
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
    """Deliver mail and events, without an API. Any number of workers share the work."""
    settings = configure()
    settings.require_production_values()
    run(work(settings))


async def work(settings: "Settings") -> None:
    """Returns when a signal has ended it."""
    import asyncio

    from service.cli.startup import announce
    from service.database.engine import Database
    from service.delivery.assembly import MailDelivery, build_event_delivery, deliver_in_background
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
    metrics = Metrics(confirms=settings.asks_to_confirm)
    mailing = MailDelivery.build(settings, database=database, metrics=metrics)
    events = build_event_delivery(settings, database=database, metrics=metrics)
    workers = [channel.worker for channel in (mailing, events) if channel]
    tune_gc()
    try:
        async with (
            SharedCounters(metrics, database=database).running(),
            deliver_in_background(mailing, events),
        ):
            while not stop.is_set():
                _touch_heartbeat(workers)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(BEAT_EVERY):
                        await stop.wait()
    finally:
        await database.close()


def _touch_heartbeat(workers: "Sequence[Worker]") -> None:
    if time.monotonic() - min(worker.last_round for worker in workers) < MAX_ROUND:
        with contextlib.suppress(OSError):  # no mail waits for a /tmp that is full, foreign or missing
            (Path(tempfile.gettempdir()) / HEARTBEAT).touch()
