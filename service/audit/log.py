"""The audit-log task of every request, and the loop that moves entries from the spool to the table."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import structlog

from service.audit.entries import Entry, NumberedEntry
from service.audit.heads import Heads
from service.audit.loading import Loader
from service.audit.retention import prune
from service.audit.spool import Segment, Spool
from service.database.engine import DatabaseUnavailable, DataRejected
from service.observability.metrics import Metrics
from service.runtime.background import repeat_in_background
from service.settings import explain_write_errors

MOVE_DELAY = 0.2  # s; entries are safe in the spool, and a commit costs the same for one as for hundreds
TRY_AGAIN_AFTER = 1.0  # s
CLEAN_UP_EVERY = 30.0  # s between rounds of adopting spools of dead processes and deleting old entries
LAST_MOVES_TIMEOUT = 2.0  # s for the last moves when the process ends

log = structlog.get_logger()


class AuditLog:
    """`record` is the task that the middleware adds to each request; it never waits for the database."""

    def __init__(self, *, heads: Heads, spool: Spool, keep: timedelta, metrics: Metrics) -> None:
        self._heads = heads
        self._spool = spool
        self._keep = keep
        self._metrics = metrics
        metrics.spool_bytes.set_function(lambda: spool.waiting_bytes)
        self._loader = Loader(heads)
        self._recorded = 0  # not counted yet; counting takes a lock, so many are counted at once
        self._wake = asyncio.Event()
        self._cleanup_failed = False
        self.trouble: str | None = None  # why entries wait longer than they should

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Moves entries, and cleans up. Raises InvalidSettings if the spool cannot be written."""
        with explain_write_errors(self._spool.folder):
            self._spool.open()
        try:
            # Apart, because new entries must not wait for the spool of a long outage, or for deletions.
            async with repeat_in_background(self._move_new, self._clean_up):
                try:
                    yield
                finally:
                    self._wake.set()
        finally:
            await self._move_the_rest()
            self._spool.close()

    def record(self, entry: Entry) -> None:
        """Writes the entry to the spool. Never raises."""
        try:
            self._spool.append(entry)
        except OSError as exc:
            self._metrics.audit_unspooled.inc()
            self.trouble = f"The spool cannot be written: {exc}"
            # The last resort: the entry is in the log.
            log.error("audit.unspooled", reason=str(exc), **entry._asdict())
        else:
            self._recorded += 1
            self._wake.set()

    async def move(self) -> int:
        """Moves a segment of this process to the table and returns how many entries.

        Raises DatabaseUnavailable or OSError.
        """
        self._metrics.audit_entries.inc(self._recorded)
        self._recorded = 0
        segment = self._spool.rotate()
        moved = await self._move(segment)
        segment.clear()
        return moved

    async def adopt(self) -> int:
        """Moves entries of dead processes to the table and returns how many.

        Raises DatabaseUnavailable or OSError.
        """
        moved = 0
        for segment in self._spool.orphans():
            try:
                moved += await self._move(segment)
            except BaseException:
                segment.close()  # this releases the lock, so that another process can try
                raise
            segment.remove()
        return moved

    async def _move_new(self) -> float:
        if not self._spool.size:
            self._wake.clear()
            await self._wake.wait()
            return MOVE_DELAY  # more will come
        try:
            await self.move()
        except DatabaseUnavailable as exc:
            self._report_trouble(f"The database does not take audit entries: {exc}")
            return TRY_AGAIN_AFTER
        except Exception as exc:  # an unreadable spool or a bug
            log.exception("audit.mover_broke")
            self._report_trouble(f"The audit entries cannot be moved: {exc}")
            return TRY_AGAIN_AFTER
        self.trouble = None
        return MOVE_DELAY if self._spool.size else 0.0

    def _report_trouble(self, trouble: str) -> None:
        is_news = self.trouble is None
        self.trouble = trouble
        if is_news:
            log.error("audit.waiting", reason=trouble)

    async def _clean_up(self) -> float:
        try:
            with self._heads.database.tolerate_outage("audit"):
                await self.adopt()
                await prune(self._heads, keep=self._keep)
            self._cleanup_failed = False
        except Exception as exc:  # told once, and not in each round
            is_news, self._cleanup_failed = not self._cleanup_failed, True
            if is_news:
                is_bug = not isinstance(exc, OSError)
                log.error("audit.cleanup_failed", reason=str(exc), exc_info=is_bug)
        return CLEAN_UP_EVERY

    async def _move_the_rest(self) -> None:
        """Moves what it can in a moment. The next process moves the rest."""
        with contextlib.suppress(DatabaseUnavailable, OSError):  # TimeoutError is an OSError
            async with asyncio.timeout(LAST_MOVES_TIMEOUT):
                await self.move()
                await self.move()

    async def _move(self, segment: Segment) -> int:
        moved = last = 0
        for lines in segment.batches():
            if lines:
                last = await self._load(lines)
            moved += len(lines)
        if last < segment.last_seq:
            await self._loader.extend(self._spool.instance, last_seq=segment.last_seq)
        if segment.lost_count:
            log.error("audit.lost", entries=segment.lost_count, path=segment.path.name)
        return moved

    async def _load(self, lines: Sequence[bytes]) -> int:
        """Returns the last number, or 0. `audit verify` names what is damaged or rejected as missing.

        Raises DatabaseUnavailable.
        """
        if not lines:
            return 0
        self._metrics.batch_sizes.labels("audit").observe(len(lines))
        try:
            return await self._loader.load(lines)
        # SQLite has no specific error for invalid JSON.
        except (DatabaseUnavailable, DataRejected, ValueError) as exc:
            readable = [line for line in lines if _is_entry(line)]
            if len(readable) < len(lines):  # damaged on disk
                log.error("audit.unreadable", entries=len(lines) - len(readable))
                return await self._load(readable)
            if not isinstance(exc, DataRejected):
                raise DatabaseUnavailable(str(exc)) from exc
        if len(lines) == 1:  # all entries behind it would wait for ever
            log.error("audit.rejected", entry=lines[0].decode())
            return 0
        half = len(lines) // 2
        return max(await self._load(lines[:half]), await self._load(lines[half:]))


def _is_entry(line: bytes) -> bool:
    try:
        NumberedEntry.from_line(line)
    except ValueError:
        return False
    return True
