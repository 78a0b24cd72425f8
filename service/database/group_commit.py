"""Group commit: all items that arrive during one transaction are written together in the next."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from prometheus_client import Histogram

from service.database.engine import DatabaseUnavailable, DataRejected, TransactionConflict

Item = TypeVar("Item")
Result = TypeVar("Result")

COMMIT_TIMEOUT = 2.0  # s; how long a caller waits for its commit
MAX_BATCH = 500
MAX_WAITING = 5_000  # waiting items: as many as a healthy database writes in COMMIT_TIMEOUT
CONFLICT_RETRIES = 3
MIN_WAITING_FOR_WRITER = 8  # waiting items for which another writer is worth starting


class Overloaded(Exception):
    """More items wait than can be written in time. Nothing was written."""


class GroupCommit(Generic[Item, Result]):
    """Hands batches to `flush`, up to `writers` at a time.

    `flush` writes a batch in one transaction and returns a result for each item, in order.
    On an idle service the first item is written at once. On a busy one, all items that arrived during a
    commit share the next. A second writer need not wait until the first has committed.
    If nobody waits for the results, `gather` is how long (s) a batch waits for more items.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        sizes: Histogram | None = None,
        capacity: int = MAX_WAITING,
        gather: float = 0.0,
        writers: int = 1,
    ) -> None:
        self._flush = flush
        self._sizes = sizes
        self._capacity = capacity
        self._gather = gather
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._max_writers = writers
        self._writers: set[asyncio.Task[Any] | None] = set()

    async def submit(self, item: Item, *, give_up_after: float | None = COMMIT_TIMEOUT) -> Result:
        """The item's result, once its transaction is on disk.

        Raises Overloaded (nothing was written), DatabaseUnavailable (the item may have been written: a
        commit whose answer is lost looks the same either way) or DataRejected (the database never takes it).
        """
        if len(self._waiting) >= self._capacity:
            raise Overloaded("too much is waiting to be written")
        loop = asyncio.get_running_loop()
        written: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, written))
        if not self._writers or self._needs_another_writer():
            self._writers.add(asyncio.create_task(self._write_all()))
        timer = loop.call_later(give_up_after, _time_out, written) if give_up_after is not None else None
        try:
            return await written
        finally:
            if timer:
                timer.cancel()

    def _needs_another_writer(self) -> bool:
        return len(self._writers) < self._max_writers and len(self._waiting) >= MIN_WAITING_FOR_WRITER

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(self._gather)
                if batch := self._take_batch():
                    if self._sizes:
                        self._sizes.observe(len(batch))
                    await self._write(batch)
        finally:
            self._writers.discard(asyncio.current_task())

    def _take_batch(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < MAX_BATCH:
            item, written = self._waiting.popleft()
            if not written.done():  # otherwise its caller has given up, and knows that it may have failed
                batch.append((item, written))
        return batch

    async def _write(self, batch: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._flush_with_retries([item for item, _ in batch])
        except DataRejected as exc:
            if len(batch) == 1:
                _fail(batch, exc)
            else:  # one bad item must not fail the others
                middle = len(batch) // 2
                await self._write(batch[:middle])
                await self._write(batch[middle:])
        except Exception as exc:  # whatever it is, no caller may wait forever
            _fail(batch, exc)
        else:
            for (_, written), result in zip(batch, results, strict=True):
                if not written.done():
                    written.set_result(result)

    async def _flush_with_retries(self, items: Sequence[Item]) -> Sequence[Result]:
        retries = 0
        while True:
            try:
                return await self._flush(items)
            except TransactionConflict as exc:
                retries += 1
                if retries > CONFLICT_RETRIES:
                    raise DatabaseUnavailable("other transactions were in the way too often") from exc


def _time_out(written: asyncio.Future[Result]) -> None:
    if not written.done():
        written.set_exception(DatabaseUnavailable("the database did not answer in time"))


def _fail(batch: Sequence[tuple[Item, asyncio.Future[Result]]], exc: Exception) -> None:
    for _, written in batch:
        if not written.done():
            written.set_exception(exc)
