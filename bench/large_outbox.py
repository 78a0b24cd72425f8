"""Measures what a large outbox costs: the time of a claim, and the memory of the service."""

import asyncio
import statistics
import time

from bench.measurements import Measurement
from bench.testbed import Testbed
from service.database.email_status import EmailStatus
from service.observability.metrics import Metrics
from service.outbox.repository import Outbox

CLAIMS = 100
CLAIMED_AT_ONCE = 10  # few, or the waiting emails would make the small outbox large
MEMORY_AFTER = 3.0  # s; by then the service has claimed as many as it holds at once


async def claims(testbed: Testbed, *, finished: int) -> Measurement:
    store = testbed.stores.get(finished)
    if store is None:
        store = testbed.stores[finished] = await testbed.kept.enter_async_context(testbed.databases.create())
        await store.fill(finished, status=EmailStatus.SENT)
        await store.fill(CLAIMS * CLAIMED_AT_ONCE, status=EmailStatus.PENDING, above=finished)
    await store.make_due()
    outbox = Outbox(store.database, Metrics())
    seconds = []
    for _ in range(CLAIMS):
        began = time.perf_counter()
        await outbox.claim(CLAIMED_AT_ONCE)
        seconds.append(time.perf_counter() - began)
    return Measurement(p50=statistics.median(seconds))


async def memory(testbed: Testbed, *, waiting: int) -> Measurement:
    """With a relay that hangs, because then the service holds the most emails."""
    async with testbed.databases.create() as store, testbed.hanging_relay() as port:
        await store.fill(waiting, status=EmailStatus.PENDING)
        async with testbed.service("service", "serve", store=store, smtp_port=port) as server:
            await server.wait_until_answering()
            await asyncio.sleep(MEMORY_AFTER)
            return Measurement(memory=await server.memory())
