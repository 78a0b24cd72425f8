"""Metrics that all processes count together: a row each in the database, so any of them can report the sum.

Workers need no port to be asked at, several processes may share one, and a restart starts no sum anew.
"""

import asyncio
import contextlib
import json
import math
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

from prometheus_client import Metric
from prometheus_client.samples import Sample
from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.engine import Database, DatabaseUnavailable
from service.database.models import SharedCounter, table
from service.observability.metrics import Metrics
from service.runtime.background import repeat_in_background
from service.runtime.ids import new_id

ROWS = table(SharedCounter)
TOTAL = UUID(int=0)  # the row of those that have ended

WRITE_EVERY = 5.0  # s; whoever is killed takes along what it counted since
LAST_WRITE_TIMEOUT = 1.0  # s, at the end of the process
CONFIRM_EVERY = 300.0  # s: an unchanged row is written again, so that its process does not look dead
FOLD_EVERY = 600.0  # s
FOLD_AFTER = timedelta(hours=1)  # without a word from its process
DELETE_AFTER = timedelta(days=30)

Counts = Mapping[str, float]  # by series


class SharedCounters:
    """The counters of `Metrics.shared`, of this process and all others.

    A process overwrites its own row with what it has counted in all, so writing twice, because the
    answer to a commit was lost, counts nothing twice.
    """

    def __init__(self, metrics: Metrics, *, database: Database) -> None:
        self._metrics = metrics
        self._database = database
        self._process = new_id()
        self._elsewhere: Counts = {}  # of what this process counted: in the sum, but not in its row
        self._written: Counts | None = None
        self._written_at = -math.inf
        self._folded_at = -math.inf

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with repeat_in_background(self._round):
            yield
        with contextlib.suppress(DatabaseUnavailable, TimeoutError):
            async with asyncio.timeout(LAST_WRITE_TIMEOUT):
                await self.write()

    async def write(self) -> None:
        """Overwrites this process's row, if there is news. Raises DatabaseUnavailable."""
        counted = _sum(self._read_counts())
        if counted == self._written and time.monotonic() - self._written_at < CONFIRM_EVERY:
            return
        async with self._database.transaction() as connection:
            if not await self._overwrite(connection, counted):
                await self._leave_folded_row(connection)
                await self._overwrite(connection, counted)
        self._written, self._written_at = counted, time.monotonic()

    async def sums(self) -> list[Metric]:
        """Over all processes, with zeros for what nobody has counted. Raises DatabaseUnavailable.

        What this process has counted since it last wrote is left out: another process could not
        report it, and a sum that shrinks from scrape to scrape looks like a restart.
        """
        async with self._database.read_only() as connection:
            found = await connection.scalars(select(ROWS.c.counted).where(~ROWS.c.is_folded))
            sums = _sum(item for counted in found for item in json.loads(counted).items())
        families: dict[str, Metric] = {}
        for family, sample in self._samples():
            total = families.setdefault(
                family.name, Metric(family.name, family.documentation, typ=family.type)
            )
            total.add_sample(sample.name, sample.labels, sums.pop(_series(sample), 0.0))
        for series, value in sums.items():
            # Labels that only others have seen. What a later release no longer counts is left out.
            name, labels = json.loads(series)
            if seen := families.get(name.removesuffix("_total")):
                seen.add_sample(name, labels, value)
        return list(families.values())

    async def fold(self) -> None:
        """Adds the rows of processes that have been silent for long to one. Raises DatabaseUnavailable.

        A folded row stays for a while: its process may only have been cut off from the database.
        """
        async with self._database.transaction() as connection:
            total = await self._lock_total(connection)
            silent = await connection.execute(
                select(ROWS.c.process, ROWS.c.counted)
                .where(~ROWS.c.is_folded, self._is_older(FOLD_AFTER), ROWS.c.process != TOTAL)
                .with_for_update()
            )
            ended = {process: json.loads(counted) for process, counted in silent}
            total = _sum(item for counted in (total, *ended.values()) for item in counted.items())
            await connection.execute(
                update(ROWS).where(ROWS.c.process == TOTAL).values(counted=json.dumps(total))
            )
            await connection.execute(update(ROWS).where(ROWS.c.process.in_(ended)).values(is_folded=True))
            await connection.execute(delete(ROWS).where(ROWS.c.is_folded, self._is_older(DELETE_AFTER)))

    async def _overwrite(self, connection: AsyncConnection, counted: Counts) -> bool:
        """False if the row has been folded."""
        here = {series: value - self._elsewhere.get(series, 0.0) for series, value in counted.items()}
        row = self._database.insert(SharedCounter).values(
            process=self._process,
            counted=json.dumps(here),
            updated_at=self._database.clock(),
            is_folded=False,
        )
        written = await connection.execute(
            row.on_conflict_do_update(
                index_elements=[ROWS.c.process],
                set_={"counted": row.excluded.counted, "updated_at": row.excluded.updated_at},
                where=~ROWS.c.is_folded,
            ).returning(ROWS.c.process)
        )
        return written.first() is not None

    async def _leave_folded_row(self, connection: AsyncConnection) -> None:
        folded = await connection.scalar(select(ROWS.c.counted).where(ROWS.c.process == self._process))
        self._elsewhere = _sum([*self._elsewhere.items(), *json.loads(folded or "{}").items()])
        self._process = new_id()

    async def _lock_total(self, connection: AsyncConnection) -> Counts:
        """Until the transaction ends, nobody else folds."""
        row = self._database.insert(SharedCounter).values(
            process=TOTAL, counted="{}", updated_at=self._database.clock(), is_folded=False
        )
        await connection.execute(row.on_conflict_do_nothing())
        total = select(ROWS.c.counted).where(ROWS.c.process == TOTAL).with_for_update()
        counted: Counts = json.loads((await connection.execute(total)).scalar_one())
        return counted

    def _is_older(self, age: timedelta) -> ColumnElement[bool]:
        return ROWS.c.updated_at < self._database.clock(after=-age)

    def _read_counts(self) -> Iterator[tuple[str, float]]:
        for _, sample in self._samples():
            if sample.value:
                yield _series(sample), sample.value

    def _samples(self) -> Iterator[tuple[Metric, Sample]]:
        for family in self._metrics.shared.collect():
            for sample in family.samples:
                if not sample.name.endswith("_created"):  # when this process began to count
                    yield family, sample

    async def _round(self) -> float:
        with self._database.tolerate_outage("counters"):
            await self.write()
            if time.monotonic() - self._folded_at > FOLD_EVERY:
                await self.fold()
                self._folded_at = time.monotonic()
        return WRITE_EVERY


def _series(sample: Sample) -> str:
    return json.dumps([sample.name, sample.labels], sort_keys=True)


def _sum(counts: Iterable[tuple[str, float]]) -> dict[str, float]:
    total: defaultdict[str, float] = defaultdict(float)
    for series, value in counts:
        total[series] += value
    return dict(total)
