"""What an operator does with emails."""

from datetime import UTC, datetime, timedelta

import pytest

from service.database.engine import Database
from service.database.models import OUTBOX
from service.outbox import admin as module
from service.outbox.admin import NO_TIME, OutboxAdmin, QueueDepth
from service.outbox.repository import Outbox
from service.outbox.row import Deferred, Failed, Outcome, Released
from tests.support.database import rows
from tests.support.outbox import enqueue


@pytest.fixture
def admin(database: Database) -> OutboxAdmin:
    return OutboxAdmin(database)


async def fail(outbox: Outbox, database: Database, count: int) -> None:
    for _ in range(count):
        email = await enqueue(database, claimed=True)
        assert email
        await outbox.record(email, Failed("550 no"))


async def test_figures_of_what_waits(admin: OutboxAdmin, outbox: Outbox, database: Database) -> None:
    assert await admin.queue_depth() == QueueDepth(0, 0, oldest=NO_TIME, overdue=NO_TIME)
    await enqueue(database)
    await fail(outbox, database, 1)

    waiting = await admin.queue_depth()

    assert (waiting.pending, waiting.failed) == (1, 1)
    assert timedelta(0) <= waiting.overdue < timedelta(seconds=30)


LONG_AGO, FAR_AHEAD = datetime(2020, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("outcome", "row", "is_overdue"),
    [
        (Released("connection refused"), {}, True),
        (Released(), {"due_at": FAR_AHEAD}, False),  # for its budget
        (Deferred("451 later"), {}, False),
    ],
)
async def test_only_who_is_asked_to_wait_is_not_overdue(
    admin: OutboxAdmin,
    outbox: Outbox,
    database: Database,
    outcome: Outcome,
    row: dict[str, datetime],
    is_overdue: bool,
) -> None:
    email = await enqueue(database, claimed=True)
    assert email
    await outbox.record(email, outcome)
    async with database.transaction() as connection:
        await connection.execute(OUTBOX.update().values(created_at=LONG_AGO, **row))

    waiting = await admin.queue_depth()

    assert waiting.oldest > timedelta(days=365)
    assert waiting.overdue == (waiting.oldest if is_overdue else NO_TIME)


async def test_failed_emails_are_due_again_a_few_in_each_transaction(
    admin: OutboxAdmin, outbox: Outbox, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_AT_ONCE", 2)
    await fail(outbox, database, 5)
    await enqueue(database)

    assert await admin.count_failed() == 5
    assert [some async for some in admin.retry()] == [2, 2, 1]

    assert {row["status"] for row in await rows(database, "SELECT status FROM outbox")} == {"pending"}
    assert await admin.count_failed() == 0


async def test_what_fails_again_meanwhile_is_left_alone(
    admin: OutboxAdmin, outbox: Outbox, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_AT_ONCE", 2)
    await fail(outbox, database, 4)

    async def retry_while_the_relay_refuses() -> list[int]:
        counts = []
        async for some in admin.retry():
            counts.append(some)
            for email in await outbox.claim(10):
                await outbox.record(email, Failed("550 still not"))
        return counts

    assert await retry_while_the_relay_refuses() == [2, 2]
    assert await admin.count_failed() == 4
