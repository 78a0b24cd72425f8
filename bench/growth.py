"""What a large outbox costs: the time of a claim, and the memory of the service."""

import asyncio
import statistics
import time

from bench.figures import Figures
from bench.stage import Stage
from service.database.email_status import EmailStatus
from service.observability.metrics import Metrics
from service.outbox.repository import Outbox

CLAIMS = 100
CLAIMED_AT_ONCE = 10  # few, or the waiting ones would make the small outbox large
MEMORY_AFTER = 3.0  # s; by then the service has claimed all that it will hold


async def claims(stage: Stage, *, finished: int) -> Figures:
    store = stage.stores.get(finished)
    if store is None:
        store = stage.stores[finished] = await stage.kept.enter_async_context(stage.databases.fresh())
        await store.fill(finished, status=EmailStatus.SENT)
        await store.fill(CLAIMS * CLAIMED_AT_ONCE, status=EmailStatus.PENDING, above=finished)
    await store.make_due()
    outbox = Outbox(store.database, Metrics())
    seconds = []
    for _ in range(CLAIMS):
        began = time.perf_counter()
        await outbox.claim(CLAIMED_AT_ONCE)
        seconds.append(time.perf_counter() - began)
    return Figures(p50=statistics.median(seconds))


async def memory(stage: Stage, *, waiting: int) -> Figures:
    """With a relay that hangs, because then a service holds the most."""
    async with stage.databases.fresh() as store, stage.hanging_relay() as port:
        await store.fill(waiting, status=EmailStatus.PENDING)
        async with stage.service("service", "serve", store=store, smtp_port=port) as server:
            await server.answering()
            await asyncio.sleep(MEMORY_AFTER)
            return Figures(memory=await server.memory())
