"""What /metrics tells: of this process what it knows itself, of all together what the database does."""

import asyncio
from collections.abc import Iterable

from prometheus_client import Metric, generate_latest
from prometheus_client.registry import Collector

from service.database import READ_TIMEOUT, DatabaseAway
from service.metrics import Metrics
from service.tallies import Tallies
from service.welcome.upkeep import Upkeep


class Figures:
    def __init__(self, *, metrics: Metrics, tallies: Tallies, upkeep: Upkeep) -> None:
        self._metrics = metrics
        self._tallies = tallies
        self._upkeep = upkeep

    async def text(self) -> bytes:
        """In Prometheus's format. Without the database it lacks the sums: smaller ones would look like
        counters that began anew, and be added once more."""
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                sums = await self._ask_database()
        except (DatabaseAway, TimeoutError):
            sums = []
        self._metrics.database_up.set(bool(sums))
        return generate_latest(_Families(sums)) + generate_latest(self._metrics.registry)

    async def _ask_database(self) -> list[Metric]:
        await self._tallies.add()
        waiting = await self._upkeep.waiting()
        self._metrics.pending.set(waiting.pending)
        self._metrics.failed.set(waiting.failed)
        self._metrics.oldest_seconds.set(waiting.oldest.total_seconds())
        self._metrics.overdue_seconds.set(waiting.overdue.total_seconds())
        return await self._tallies.sums()


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
