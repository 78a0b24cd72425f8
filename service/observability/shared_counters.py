"""What all processes count together: sums in the database, so that each of them can tell the whole.

Workers need no port to be asked at, several processes may share one, and a restart starts no sum anew.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

from prometheus_client import Metric
from prometheus_client.samples import Sample
from sqlalchemy import select

from service.database.engine import Database, DatabaseUnavailable
from service.database.models import SharedCounter, table
from service.observability.metrics import Metrics

TALLIES = table(SharedCounter)

ADD_EVERY = 10.0  # s; who is killed takes what it counted since along
LAST_WORDS = 1.0  # s

Series = tuple[str, str]  # the name and, in JSON, the labels


class SharedCounters:
    """Those of `Metrics.shared`, of this process and all others."""

    def __init__(self, metrics: Metrics, *, database: Database) -> None:
        self._metrics = metrics
        self._database = database
        self._added: dict[Series, float] = {}  # of what this process counted
        self._adding = asyncio.Lock()  # or two at once would add the same twice

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        ending = asyncio.Event()
        loop = asyncio.create_task(self._loop(ending))
        try:
            yield
        finally:
            ending.set()  # no cancelling: what is being added would be added once more
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS):
                    await loop

    async def add(self) -> None:
        """Adds what this process counted since it last did. Raises DatabaseUnavailable."""
        async with self._adding:
            counted = {_series(sample): sample.value for _, sample in self._counted()}
            before = self._added
            more = {series: counted[series] - before.get(series, 0.0) for series in counted}
            await self._add({series: value for series, value in more.items() if value})
            self._added = counted

    async def sums(self) -> list[Metric]:
        """Of all processes, those that never counted anything included. Raises DatabaseUnavailable."""
        async with self._database.read_only() as connection:
            found = await connection.execute(select(TALLIES.c.name, TALLIES.c.labels, TALLIES.c.sum))
            sums = {(name, labels): total for name, labels, total in found}
        families: dict[str, Metric] = {}
        for family, sample in self._counted():
            whole = families.setdefault(
                family.name, Metric(family.name, family.documentation, typ=family.type)
            )
            whole.add_sample(sample.name, sample.labels, sums.pop(_series(sample), 0.0))
        for (name, labels), total in sums.items():
            # Labels that only others have seen. What a later release no longer counts stays untold.
            if whole_ := families.get(name.removesuffix("_total")):
                whole_.add_sample(name, json.loads(labels), total)
        return list(families.values())

    async def _add(self, more: Mapping[Series, float]) -> None:
        if not more:
            return
        added = self._database.insert(SharedCounter).values(
            # In one order, so that two processes cannot deadlock.
            [{"name": name, "labels": labels, "sum": more[name, labels]} for name, labels in sorted(more)]
        )
        async with self._database.single_statement() as connection:
            await connection.execute(
                added.on_conflict_do_update(
                    index_elements=[TALLIES.c.name, TALLIES.c.labels],
                    set_={"sum": TALLIES.c.sum + added.excluded.sum},
                )
            )

    def _counted(self) -> Iterator[tuple[Metric, Sample]]:
        for family in self._metrics.shared.collect():
            for sample in family.samples:
                if not sample.name.endswith("_created"):  # when this process began to count
                    yield family, sample

    async def _loop(self, ending: asyncio.Event) -> None:
        is_ending = False
        while not is_ending:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ADD_EVERY):
                    is_ending = await ending.wait()
            with contextlib.suppress(DatabaseUnavailable):  # it is added when the database is back
                await self.add()


def _series(sample: Sample) -> Series:
    return sample.name, json.dumps(sample.labels, sort_keys=True)
