"""What all processes count together, and what each tells of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.engine import Database, DatabaseUnavailable
from service.observability import shared_counters as module
from service.observability.metrics import Metrics
from service.observability.shared_counters import SharedCounters
from tests.support.database import rows
from tests.support.eventually import eventually


class Replica:
    def __init__(self, database: Database) -> None:
        self.metrics = Metrics()
        self.shared = SharedCounters(self.metrics, database=database)

    def sends(self, count: int) -> None:
        self.metrics.mail.outcomes.labels("sent").inc(count)

    async def knows(self, name: str, **labels: str) -> float | None:
        samples = [sample for family in await self.shared.sums() for sample in family.samples]
        [value] = [sample.value for sample in samples if (sample.name, sample.labels) == (name, labels)]
        return value


@pytest.fixture
def replica(database: Database) -> Callable[[], Replica]:
    return lambda: Replica(database)


async def test_each_process_tells_what_all_counted(replica: Callable[[], Replica]) -> None:
    one, other = replica(), replica()
    one.sends(2)
    other.sends(3)
    other.metrics.signups.labels("overloaded").inc()
    other.metrics.mail.delivery_seconds.observe(0.2)

    for process in (one, other, one):
        await process.shared.write()

    for process in (one, other, replica()):
        assert await process.knows("welcome_emails_total", outcome="sent") == 5
        assert await process.knows("signups_total", result="overloaded") == 1
        assert await process.knows("welcome_email_delivery_duration_seconds_bucket", le="0.1") == 0
        assert await process.knows("welcome_email_delivery_duration_seconds_bucket", le="0.25") == 1
        assert await process.knows("welcome_email_delivery_duration_seconds_sum") == pytest.approx(0.2)


async def test_what_nobody_counted_is_zero(replica: Callable[[], Replica], database: Database) -> None:
    process = replica()

    await process.shared.write()

    assert await process.knows("welcome_emails_total", outcome="failed") == 0
    assert await process.knows("welcome_emails_unknown_outcome_total") == 0


async def test_a_process_adds_by_itself_and_once_more_at_its_end(
    replica: Callable[[], Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WRITE_EVERY", 0.01)
    process, reader = replica(), replica()

    async def counted(count: int) -> bool:
        return await reader.knows("welcome_emails_total", outcome="sent") == count

    async with process.shared.running():
        process.sends(1)
        await eventually(lambda: counted(1))
        monkeypatch.setattr(module, "WRITE_EVERY", 60)
        process.sends(1)

    await eventually(lambda: counted(2))


async def test_what_the_database_did_not_take_is_added_when_it_is_back(
    replica: Callable[[], Replica], database: Database
) -> None:
    process = replica()
    process.sends(1)
    async with database.transaction() as connection:
        await connection.exec_driver_sql("ALTER TABLE shared_counters RENAME TO away")
    with pytest.raises(DatabaseUnavailable):
        await process.shared.write()
    async with database.transaction() as connection:
        await connection.exec_driver_sql("ALTER TABLE away RENAME TO shared_counters")

    await process.shared.write()

    assert await process.knows("welcome_emails_total", outcome="sent") == 1


async def test_a_commit_whose_answer_is_lost_counts_nothing_twice(
    replica: Callable[[], Replica], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, reader = replica(), replica()
    transaction = database.transaction

    @asynccontextmanager
    async def lose_the_answer() -> AsyncIterator[AsyncConnection]:
        async with transaction() as connection:
            yield connection
        raise DatabaseUnavailable("the answer was lost")

    process.sends(3)
    with monkeypatch.context() as patch:
        patch.setattr(database, "transaction", lose_the_answer)
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable):
                await process.shared.write()
            assert await reader.knows("welcome_emails_total", outcome="sent") == 3

    process.sends(1)
    await process.shared.write()

    assert await reader.knows("welcome_emails_total", outcome="sent") == 4
    assert len(await rows(database, "SELECT * FROM shared_counters")) == 1


class TestFolding:
    @pytest.fixture(autouse=True)
    def _at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "FOLD_AFTER", timedelta(seconds=-1))

    async def test_processes_that_ended_share_a_row_and_are_counted_once(
        self, replica: Callable[[], Replica], database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for count in (1, 2, 3):
            process = replica()
            process.sends(count)
            await process.shared.write()
        reader = replica()

        await asyncio.gather(*(replica().shared.fold() for _ in range(3)))
        await reader.shared.fold()

        assert await reader.knows("welcome_emails_total", outcome="sent") == 6
        assert len(await rows(database, "SELECT * FROM shared_counters WHERE NOT is_folded")) == 1
        monkeypatch.setattr(module, "DELETE_AFTER", timedelta(seconds=-1))
        await reader.shared.fold()
        assert len(await rows(database, "SELECT * FROM shared_counters")) == 1
        assert await reader.knows("welcome_emails_total", outcome="sent") == 6

    async def test_a_process_that_was_only_cut_off_goes_on_with_what_is_new(
        self, replica: Callable[[], Replica]
    ) -> None:
        process, other = replica(), replica()
        for count in (5, 2, 1):  # folded again and again
            process.sends(count)
            await process.shared.write()
            await other.shared.fold()
        process.sends(1)

        await process.shared.write()

        assert await other.knows("welcome_emails_total", outcome="sent") == 9
