"""What an operator does with emails."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from service.database.email_status import EmailStatus
from service.database.engine import Database
from service.database.models import OUTBOX
from service.outbox import admin as module
from service.outbox.admin import DROPPED, NO_TIME, OutboxAdmin, QueueDepth, Selection
from service.outbox.repository import Outbox
from service.outbox.row import Deferred, Failed, Outcome, Released, Sent
from tests.support.database import rows
from tests.support.outbox import enqueue, enqueue_claimed

LONG_AGO, FAR_AHEAD = datetime(2020, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)


@pytest.fixture
def admin(database: Database) -> OutboxAdmin:
    return OutboxAdmin(database)


async def finish(
    outbox: Outbox, database: Database, outcome: Outcome, *, name: str = "ada", domain: str = "example.com"
) -> UUID:
    email = await enqueue_claimed(database, name=name, domain=domain)
    await outbox.record(email, outcome)
    return email.id


async def fail(outbox: Outbox, database: Database, count: int) -> None:
    for _ in range(count):
        await finish(outbox, database, Failed("550 no"))


async def postpone(database: Database) -> None:
    """Makes what waits wait for long."""
    async with database.transaction() as connection:
        await connection.execute(OUTBOX.update().where(OUTBOX.c.deferrals > 0).values(due_at=FAR_AHEAD))


async def total(counts: AsyncIterator[Counter[str]]) -> int:
    return sum([count.total() async for count in counts])


async def states(database: Database) -> dict[str, str]:
    found = await rows(database, "SELECT recipient, status FROM outbox")
    return {row["recipient"]: row["status"] for row in found}


async def test_figures_of_what_waits(admin: OutboxAdmin, outbox: Outbox, database: Database) -> None:
    assert await admin.queue_depth() == QueueDepth(0, 0, oldest=NO_TIME, overdue=NO_TIME)
    await enqueue(database)
    await fail(outbox, database, 1)

    waiting = await admin.queue_depth()

    assert (waiting.pending, waiting.failed) == (1, 1)
    assert timedelta(0) <= waiting.overdue < timedelta(seconds=30)


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
    await finish(outbox, database, outcome)
    async with database.transaction() as connection:
        await connection.execute(OUTBOX.update().values(created_at=LONG_AGO, **row))

    waiting = await admin.queue_depth()

    assert waiting.oldest > timedelta(days=365)
    assert waiting.overdue == (waiting.oldest if is_overdue else NO_TIME)


async def test_failed_emails_are_due_again_a_few_in_each_transaction(
    admin: OutboxAdmin, outbox: Outbox, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    await fail(outbox, database, 5)
    await enqueue(database)

    assert await admin.count_retryable() == 5
    assert [some.total() async for some in admin.retry()] == [2, 2, 1]

    assert {row["status"] for row in await rows(database, "SELECT status FROM outbox")} == {"pending"}
    assert await admin.count_retryable() == 0


async def test_what_fails_again_meanwhile_is_left_alone(
    admin: OutboxAdmin, outbox: Outbox, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    await fail(outbox, database, 4)

    async def retry_while_the_relay_refuses() -> list[int]:
        counts = []
        async for some in admin.retry():
            counts.append(some.total())
            for email in await outbox.claim(10):
                await outbox.record(email, Failed("550 still not"))
        return counts

    assert await retry_while_the_relay_refuses() == [2, 2]
    assert await admin.count_retryable() == 4


async def test_what_waits_after_a_refusal_is_due_at_once_as_if_it_were_new(
    admin: OutboxAdmin, outbox: Outbox, database: Database
) -> None:
    await finish(outbox, database, Deferred("454 4.7.1 Relay access denied"))
    await postpone(database)

    assert await total(admin.retry()) == 1

    [email] = await outbox.claim(10)
    assert email.deferrals == 0


async def test_what_was_given_up_and_is_retried_waits_again_if_it_is_refused(
    admin: OutboxAdmin, outbox: Outbox, database: Database
) -> None:
    await enqueue(database)
    async with database.transaction() as connection:
        await connection.execute(OUTBOX.update().values(give_up_at=LONG_AGO))
    assert await outbox.fail_expired("name not found") == 1

    assert await total(admin.retry()) == 1
    [email] = await outbox.claim(10)
    await outbox.record(email, Deferred("451 busy"))

    assert await states(database) == {"ada@example.com": EmailStatus.PENDING}


async def test_what_a_process_has_in_hand_or_has_sent_is_not_sent_again(
    admin: OutboxAdmin, outbox: Outbox, database: Database
) -> None:
    await enqueue_claimed(database)
    await finish(outbox, database, Sent("250 ok"))

    assert await total(admin.retry()) == 0


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        (Selection(), {"ada@example.com", "grace@example.com", "ada@xn--mnchen-3ya.de"}),
        (Selection(domain="example.com"), {"ada@example.com", "grace@example.com"}),
        (Selection(domain=" @München.de"), {"ada@xn--mnchen-3ya.de"}),
        (Selection(domain="ample.com"), set()),
        (Selection(domain="not a domain"), set()),
        (Selection(address="GRACE@example.com"), {"grace@example.com"}),
        (Selection(address="nobody@example.com"), set()),
        (Selection(address="not an address"), set()),
        (Selection(domain="example.com", failed_since=timedelta(hours=1)), {"grace@example.com"}),
    ],
)
async def test_a_selection_is_by_address_domain_and_time(
    admin: OutboxAdmin, outbox: Outbox, database: Database, selection: Selection, chosen: set[str]
) -> None:
    await finish(outbox, database, Deferred("451 later"))
    await finish(outbox, database, Failed("550 no"), name="grace")
    await finish(outbox, database, Deferred("451 later"), domain="xn--mnchen-3ya.de")
    await postpone(database)
    async with database.transaction() as connection:
        await connection.exec_driver_sql("UPDATE users SET canonical_email = email WHERE email LIKE 'grace%'")

    assert await admin.count_retryable(selection) == await total(admin.retry(selection)) == len(chosen)

    due = {email.recipient for email in await outbox.claim(10)}
    assert due == chosen


async def test_what_waits_is_dropped_and_what_is_finished_stays_as_it_is(
    admin: OutboxAdmin, outbox: Outbox, database: Database
) -> None:
    await finish(outbox, database, Sent("250 ok"), name="sent", domain="spam.example")
    await enqueue(database, name="new", domain="spam.example")
    await enqueue_claimed(database, name="held", domain="spam.example")
    await finish(outbox, database, Deferred("451 later"), name="deferred", domain="spam.example")
    await enqueue(database, name="other")
    selection = Selection(domain="spam.example")

    assert await admin.count_droppable(selection) == await total(admin.drop(selection)) == 3

    assert await states(database) == {
        "sent@spam.example": EmailStatus.SENT,
        "new@spam.example": EmailStatus.FAILED,
        "held@spam.example": EmailStatus.FAILED,
        "deferred@spam.example": EmailStatus.FAILED,
        "other@example.com": EmailStatus.PENDING,
    }
    dropped = await rows(database, "SELECT last_reply, finished_at FROM outbox WHERE status = 'failed'")
    assert {row["last_reply"] for row in dropped} == {DROPPED}
    assert all(row["finished_at"] for row in dropped)


async def test_an_email_that_was_dropped_stays_dropped_whatever_its_holder_reports(
    admin: OutboxAdmin, outbox: Outbox, database: Database
) -> None:
    email = await enqueue_claimed(database)
    await total(admin.drop(Selection(email_id=email.id)))

    await outbox.record(email, Deferred("451 later"))

    assert await states(database) == {"ada@example.com": EmailStatus.FAILED}


async def test_any_unique_beginning_of_an_id_finds_its_email(
    admin: OutboxAdmin, outbox: Outbox, database: Database
) -> None:
    ids = [await finish(outbox, database, Failed("550 no"), name=f"user{number}") for number in range(3)]
    wanted = str(ids[1])

    for prefix in (wanted, wanted.upper(), ids[1].hex, wanted[:35], ids[1].hex[:31]):
        assert wanted in map(str, await admin.find(prefix))
    assert await admin.find(wanted) == [ids[1]]
    assert len(await admin.find(wanted[:4])) == 2  # ids begin with the time
    for nothing in ("", "f" * 32, "f" * 33, "7", "-", "xyz", "%"):
        assert await admin.find(nothing) == []


async def test_the_newest_come_first_and_may_be_those_of_one_address(
    admin: OutboxAdmin, outbox: Outbox, database: Database
) -> None:
    for name in ("first", "second", "third"):
        await finish(outbox, database, Failed("550 no"), name=name)

    newest = await admin.find_newest(2)
    assert [row["recipient"] for row in newest] == ["third@example.com", "second@example.com"]
    assert await admin.find_newest(9, selection=Selection(address="nobody@example.com")) == []
    assert await admin.find_newest(9, status=EmailStatus.SENT) == []
