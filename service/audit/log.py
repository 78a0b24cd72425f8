"""From the spool to the table: the audit-log task of every request, and the mover behind it."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog

from service.audit.entries import Entry
from service.audit.loading import Loader
from service.audit.retention import prune
from service.audit.spool import Segment, Spool
from service.database.engine import Database, DatabaseUnavailable, DataRejected
from service.observability.metrics import Metrics

LINGER = 0.2  # s; entries are safe in the spool, and a commit is as dear for one as for hundreds
TRY_AGAIN_AFTER = 1.0  # s
CLEAN_UP_EVERY = 30.0  # s: adopting what dead processes left, and dropping what is too old

log = structlog.get_logger()


class AuditLog:
    """`record` is the task that the middleware adds to each request; it never waits for the database."""

    def __init__(self, *, database: Database, spool: Spool, keep: timedelta, metrics: Metrics) -> None:
        self._database = database
        self._spool = spool
        self._keep = keep
        self._metrics = metrics
        metrics.spool_bytes.set_function(lambda: spool.waiting)
        self._loader = Loader(database)
        self._recorded = 0  # and not counted yet: many at once, because a counter takes a lock
        self._wake = asyncio.Event()
        self._mover: asyncio.Task[None] | None = None
        self.trouble: str | None = None  # why entries wait longer than they should

    def record(self, *fields: Any) -> None:
        """Spools one entry; `fields` are those of Entry behind `seq`, in their order. Never raises."""
        try:
            self._spool.append(*fields)
        except OSError as exc:
            # The last resort: whoever keeps the log still has the entry.
            entry = {name: str(value) for name, value in zip(Entry._fields[2:], fields, strict=True)}
            log.error("audit.unspooled", reason=str(exc), **entry)
            self._metrics.audit_unspooled.inc()
            self.trouble = f"The spool cannot be written: {exc}"
        else:
            self._recorded += 1
            self._wake.set()

    def start(self) -> None:
        self._mover = asyncio.create_task(self._loop())

    async def stop(self) -> None:
        """Moves what it can in a moment; the rest waits for the next process."""
        if self._mover:
            self._mover.cancel()
            await asyncio.gather(self._mover, return_exceptions=True)
        with contextlib.suppress(DatabaseUnavailable, TimeoutError):
            async with asyncio.timeout(2):
                await self.move()
                await self.move()
        self._spool.close()

    async def move(self) -> int:
        """Moves a segment of this process to the table and returns how many entries.

        Raises DatabaseUnavailable."""
        self._metrics.audit_entries.inc(self._recorded)
        self._recorded = 0
        segment = self._spool.full_segment()
        moved = await self._move(segment)
        segment.clear()
        return moved

    async def adopt(self) -> int:
        """Moves what dead processes left behind; returns how many entries. Raises DatabaseUnavailable."""
        moved = 0
        for segment in self._spool.orphans():
            try:
                moved += await self._move(segment)
            except BaseException:
                segment.close()  # and its lock with it, for whoever tries next
                raise
            segment.remove()
        return moved

    async def _loop(self) -> None:
        loop = asyncio.get_running_loop()
        clean_at = loop.time()
        while True:
            try:
                await self.move()
                if loop.time() >= clean_at:
                    clean_at = loop.time() + CLEAN_UP_EVERY
                    await self.adopt()
                    await prune(self._database, keep=self._keep)
                self.trouble = None
            except DatabaseUnavailable as exc:
                self._complain(f"The database does not take audit entries: {exc}")
                await asyncio.sleep(TRY_AGAIN_AFTER)
            except Exception as exc:  # a spool that cannot be read, or a bug: it must not end the mover
                log.exception("audit.mover_broke")
                self._complain(f"The audit entries cannot be moved: {exc}")
                await asyncio.sleep(TRY_AGAIN_AFTER)
            else:
                await self._rest(clean_at - loop.time())

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0)):
                if not self._spool.size:
                    await self._wake.wait()
                await asyncio.sleep(LINGER)
        self._wake.clear()

    def _complain(self, trouble: str) -> None:
        if self.trouble is None:
            log.error("audit.waiting", reason=trouble)
        self.trouble = trouble

    async def _move(self, segment: Segment) -> int:
        moved = 0
        for lines in segment.batches():
            if lines:
                await self._insert(lines)
            moved += len(lines)
        return moved

    async def _insert(self, lines: Sequence[bytes]) -> None:
        self._metrics.batch_sizes.labels("audit").observe(len(lines))
        try:
            await self._loader.load(lines)
        except (
            DatabaseUnavailable,
            DataRejected,
            ValueError,
        ) as exc:  # SQLite has no error of its own for bad JSON
            readable = [line for line in lines if _is_entry(line)]
            if len(readable) == len(lines):
                raise DatabaseUnavailable(str(exc)) from exc
            # Damaged on the disk. `audit verify` will name what is missing.
            log.error("audit.unreadable", entries=len(lines) - len(readable))
            if readable:
                await self._loader.load(readable)


def _is_entry(line: bytes) -> bool:
    try:
        Entry.from_line(line)
    except ValueError:
        return False
    return True
