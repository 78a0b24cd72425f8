"""Group commit: items share a transaction, and a bad item does not fail the others."""

import asyncio
from collections.abc import Sequence

import pytest

from service.database.engine import DatabaseUnavailable, DataRejected, TransactionConflict
from service.database.group_commit import MIN_WAITING_FOR_WRITER, GroupCommit, Overloaded
from tests.support.eventually import eventually


class Ledger:
    """A flush that a test can delay, and that refuses negative numbers."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.conflicts = 0
        self.begun = 0

    async def write(self, numbers: Sequence[int]) -> Sequence[int]:
        self.begun += 1
        await self.open.wait()
        if self.conflicts:
            self.conflicts -= 1
            raise TransactionConflict("deadlock")
        if any(number < 0 for number in numbers):
            raise DataRejected("negative")
        self.batches.append(list(numbers))
        return [number * 10 for number in numbers]


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


async def test_a_single_item_is_written_at_once(ledger: Ledger) -> None:
    assert await GroupCommit(ledger.write).submit(1) == 10
    assert ledger.batches == [[1]]


async def test_what_comes_meanwhile_shares_the_next_batch(ledger: Ledger) -> None:
    batcher = GroupCommit(ledger.write)

    results = await asyncio.gather(*(batcher.submit(number) for number in range(5)))

    assert results == [0, 10, 20, 30, 40]
    assert sum(len(batch) for batch in ledger.batches) == 5
    assert len(ledger.batches) <= 2


@pytest.mark.parametrize(
    ("writers", "waiting", "begun"),
    [
        pytest.param(1, 20, 1, id="one writer writes one"),
        pytest.param(2, MIN_WAITING_FOR_WRITER - 1, 1, id="few can wait"),
        pytest.param(2, MIN_WAITING_FOR_WRITER, 2, id="many are not kept waiting"),
        pytest.param(2, 3 * MIN_WAITING_FOR_WRITER, 2, id="and no third begins"),
    ],
)
async def test_how_many_batches_are_written_at_a_time(
    ledger: Ledger, writers: int, waiting: int, begun: int
) -> None:
    batcher = GroupCommit(ledger.write, writers=writers)
    ledger.open.clear()
    first = asyncio.create_task(batcher.submit(0))
    await eventually(lambda: ledger.begun == 1)

    others = [asyncio.create_task(batcher.submit(number)) for number in range(1, waiting + 1)]
    await asyncio.sleep(0.01)
    assert ledger.begun == begun

    ledger.open.set()
    assert await asyncio.gather(first, *others) == [number * 10 for number in range(waiting + 1)]


async def test_one_bad_item_fails_alone(ledger: Ledger) -> None:
    batcher = GroupCommit(ledger.write)

    results = await asyncio.gather(*(batcher.submit(n) for n in (1, -2, 3, 4)), return_exceptions=True)

    assert [results[0], results[2], results[3]] == [10, 30, 40]
    assert isinstance(results[1], DataRejected)


async def test_conflicts_are_retried_out_of_sight(ledger: Ledger) -> None:
    ledger.conflicts = 3

    assert await GroupCommit(ledger.write).submit(1) == 10


async def test_endless_conflicts_end(ledger: Ledger) -> None:
    ledger.conflicts = 100

    with pytest.raises(DatabaseUnavailable):
        await GroupCommit(ledger.write).submit(1)


async def test_a_lost_connection_fails_the_whole_batch_without_a_retry() -> None:
    tries = 0

    async def lose(numbers: Sequence[int]) -> Sequence[int]:
        nonlocal tries
        tries += 1
        raise DatabaseUnavailable("gone")

    batcher = GroupCommit(lose)
    results = await asyncio.gather(*(batcher.submit(n) for n in range(3)), return_exceptions=True)

    assert all(isinstance(result, DatabaseUnavailable) for result in results)
    assert tries == 1


async def test_nobody_waits_longer_than_his_patience(ledger: Ledger) -> None:
    ledger.open.clear()

    with pytest.raises(DatabaseUnavailable):
        await GroupCommit(ledger.write).submit(1, give_up_after=0.01)


async def test_what_nobody_waits_for_any_more_is_not_written(ledger: Ledger) -> None:
    batcher = GroupCommit(ledger.write)
    ledger.open.clear()
    under_way = asyncio.create_task(batcher.submit(1))
    await eventually(lambda: ledger.begun)
    with pytest.raises(DatabaseUnavailable):
        await batcher.submit(2, give_up_after=0.01)

    ledger.open.set()
    await under_way
    assert await batcher.submit(3) == 30

    assert ledger.batches == [[1], [3]]


async def test_a_line_that_is_too_long_is_refused_at_once(ledger: Ledger) -> None:
    batcher = GroupCommit(ledger.write, capacity=2)
    ledger.open.clear()
    waiting = [asyncio.create_task(batcher.submit(number)) for number in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(Overloaded):
        await batcher.submit(9)

    ledger.open.set()
    assert await asyncio.gather(*waiting) == [0, 10]


async def test_a_bug_in_the_flush_reaches_its_callers_and_spares_later_ones(ledger: Ledger) -> None:
    async def broken_once(numbers: Sequence[int]) -> Sequence[int]:
        if 0 in numbers:
            raise RuntimeError("a bug")
        return await ledger.write(numbers)

    batcher = GroupCommit(broken_once)

    with pytest.raises(RuntimeError):
        await batcher.submit(0)
    assert await batcher.submit(1) == 10
