"""Rows: claimed by one, renewed while held, finished once."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from service.database.email_status import EmailStatus
from service.database.engine import Database
from service.database.json_rows import encode_rows
from service.database.models import OUTBOX, User, table
from service.database.outbox_kinds import ChannelName, Kind
from service.observability.metrics import Metrics
from service.outbox.repository import Outbox
from service.outbox.row import (
    MAX_REPLY,
    Deferred,
    Failed,
    NewEmail,
    Outcome,
    Released,
    Sent,
    backoff,
)
from service.outbox.sql import enqueue_statement
from service.runtime.ids import new_id
from tests.support.database import rows
from tests.support.outbox import enqueue, enqueue_claimed, make_due

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


async def only_row(database: Database) -> dict[str, object]:
    [row] = await rows(database, "SELECT * FROM outbox")
    return dict(row)


async def test_a_waiting_email_is_claimed_once(outbox: Outbox, database: Database) -> None:
    await enqueue(database)

    [email] = await outbox.claim(10)

    assert (email.recipient, email.name, email.attempt) == ("ada@example.com", "Ada", 1)
    assert await outbox.claim(10) == []


async def test_an_email_born_claimed_is_left_to_its_holder(outbox: Outbox, database: Database) -> None:
    email = await enqueue_claimed(database)

    assert email is not None
    assert email.attempt == 1
    assert await outbox.claim(10) == []


async def test_two_claimers_never_get_the_same_email(
    outbox: Outbox, database: Database, metrics: Metrics
) -> None:
    for number in range(20):
        await enqueue(database, name=f"user{number}")
    other = Outbox(database, metrics)

    claims = await asyncio.gather(*(claimer.claim(7) for claimer in (outbox, other, outbox, other)))

    ids = [email.id for claim in claims for email in claim]
    assert len(ids) == len(set(ids)) == 20


async def test_the_longest_due_is_claimed_first(outbox: Outbox, database: Database) -> None:
    for name in ("first", "second", "third"):
        await enqueue(database, name=name)

    claimed = [await outbox.claim(1) for _ in range(3)]

    assert [email.recipient for [email] in claimed] == [
        f"{n}@example.com" for n in ("first", "second", "third")
    ]


async def test_a_probe_takes_any_of_those_due_long(outbox: Outbox, database: Database) -> None:
    names = [f"user{number}" for number in range(20)]
    for name in names:
        await enqueue(database, name=name)

    claimed = [email for _ in names for email in await outbox.claim(1, probing=True)]

    recipients = [email.recipient for email in claimed]
    in_turn = [f"{name}@example.com" for name in names]
    assert sorted(recipients) == sorted(in_turn)
    assert recipients != in_turn


async def test_a_lease_that_ran_out_is_claimed_anew(outbox: Outbox, database: Database) -> None:
    await enqueue_claimed(database)
    await make_due(database)

    [email] = await outbox.claim(10)

    assert email.attempt == 2


@pytest.mark.parametrize(
    ("outcome", "status", "reply"),
    [
        (Sent("250 queued"), EmailStatus.SENT, "250 queued"),
        (Failed("550 no such user"), EmailStatus.FAILED, "550 no such user"),
        (Deferred("451 busy"), EmailStatus.PENDING, "451 busy"),
        (Released(reply="421 closing"), EmailStatus.PENDING, "421 closing"),
        (Released(), EmailStatus.PENDING, None),
    ],
)
async def test_the_outcome_is_recorded(
    outbox: Outbox, database: Database, outcome: Outcome, status: EmailStatus, reply: str | None
) -> None:
    email = await enqueue_claimed(database)

    await outbox.record(email, outcome)

    row = await only_row(database)
    assert (row["status"], row["last_reply"]) == (status, reply)
    assert (row["finished_at"] is None) == (status is EmailStatus.PENDING)


async def test_an_outcome_of_a_lost_claim_changes_nothing(outbox: Outbox, database: Database) -> None:
    email = await enqueue_claimed(database)
    await make_due(database)
    await outbox.claim(1)

    await outbox.record(email, Failed("550 too late"))

    assert (await only_row(database))["status"] == EmailStatus.PENDING


async def test_what_is_sent_stays_sent(outbox: Outbox, database: Database) -> None:
    email = await enqueue_claimed(database)
    await outbox.record(email, Sent("250 queued"))

    await outbox.record(email, Failed("550 no"))

    assert (await only_row(database))["status"] == EmailStatus.SENT


async def test_a_released_email_can_be_claimed_at_once_and_costs_nothing(
    outbox: Outbox, database: Database
) -> None:
    email = await enqueue_claimed(database)

    await outbox.record(email, Released())

    [again] = await outbox.claim(1)
    assert (again.attempt, again.deferrals) == (2, 0)


async def test_a_deferred_email_waits(outbox: Outbox, database: Database) -> None:
    email = await enqueue_claimed(database)
    email.deferrals = 5

    await outbox.record(email, Deferred("451 later"))

    assert await outbox.claim(1) == []
    assert (await only_row(database))["deferrals"] == 6


async def test_a_deferral_past_the_end_is_a_failure_with_the_relays_words(
    outbox: Outbox, database: Database
) -> None:
    email = await enqueue_claimed(database)
    async with database.transaction() as connection:
        await connection.execute(OUTBOX.update().values(give_up_at=datetime.now(UTC)))

    await outbox.record(email, Deferred("451 still busy"))

    row = await only_row(database)
    assert (row["status"], row["last_reply"]) == (EmailStatus.FAILED, "451 still busy")


async def test_renewing_keeps_what_is_ours_and_only_that(outbox: Outbox, database: Database) -> None:
    ours = await enqueue_claimed(database, name="ours")
    lost = await enqueue_claimed(database, name="lost")
    await make_due(database)
    lost.attempt = 0
    ours.held_until = lost.held_until = 0.0

    await outbox.renew([ours, lost])

    assert ours.is_held()
    assert not lost.is_held()
    assert [email.recipient for email in await outbox.claim(10)] == ["lost@example.com"]


async def test_renewing_does_not_undo_a_deferral(outbox: Outbox, database: Database) -> None:
    email = await enqueue_claimed(database)
    email.deferrals = 5
    await outbox.record(email, Deferred("451 in an hour"))
    due_at = (await only_row(database))["due_at"]

    await outbox.renew([email])

    assert (await only_row(database))["due_at"] == due_at


async def test_what_waited_for_five_days_is_given_up_with_the_reason(
    outbox: Outbox, database: Database
) -> None:
    await enqueue(database)

    for more, given_up in ((timedelta(days=4, hours=23), 0), (timedelta(hours=1), 1)):
        async with database.transaction() as connection:
            [row] = await connection.execute(OUTBOX.select())
            await connection.execute(OUTBOX.update().values(give_up_at=row.give_up_at - more))
        assert await outbox.fail_expired("name not found") == given_up

    failed = await only_row(database)
    assert (failed["status"], failed["last_reply"]) == (EmailStatus.FAILED, "name not found")


async def test_words_that_a_column_cannot_hold_are_kept_as_far_as_it_can(
    outbox: Outbox, database: Database
) -> None:
    email = await enqueue_claimed(database)

    await outbox.record(email, Failed("550 \x00 \udce4 " + "x" * 5000))

    reply = (await only_row(database))["last_reply"]
    assert isinstance(reply, str)
    assert reply.startswith("550 ")
    assert len(reply) == MAX_REPLY


async def test_an_unknown_user_has_no_email(outbox: Outbox) -> None:
    assert await outbox.find_welcome_status(UUID(int=0)) is None


@pytest.mark.parametrize(
    ("deferrals", "longest"), [(0, 5), (1, 15), (2, 60), (3, 300), (4, 900), (5, 3600), (99, 3600)]
)
def test_the_backoff_grows_to_an_hour_with_jitter(deferrals: int, longest: int) -> None:
    waits = [backoff(deferrals).total_seconds() for _ in range(200)]

    assert 0.1 * longest <= min(waits)
    assert 0.9 * longest < max(waits) <= longest
    assert len(set(waits)) > 100


async def fill(database: Database, domain: str, count: int) -> None:
    """Many emails, all owed to one user, which nobody has claimed."""
    user_id, address = new_id(), f"user@{domain}"
    emails = [
        NewEmail(
            user_id=user_id, recipient=f"user{number}@{domain}", name=None, request_id="r", claimed=False
        )
        for number in range(count)
    ]
    user = {"id": user_id, "email": address, "canonical_email": address, "created_at": LONG_AGO}
    async with database.transaction() as connection:
        await connection.execute(database.insert(User), user)
        await connection.execute(
            enqueue_statement(database, table(User)),
            {"emails": encode_rows(email.row() for email in emails)},
        )


async def test_elsewhere_is_every_domain_that_is_not_refused(outbox: Outbox, database: Database) -> None:
    for domain in ("attacked.example", "example.com", "example.net", "last.example"):
        await fill(database, domain, 2)

    claimed = await outbox.claim_elsewhere(10, refused=["attacked.example", "last.example"])

    assert {email.recipient for email in claimed} == {"user0@example.com", "user0@example.net"}
    assert len(await outbox.claim_elsewhere(1, refused=[])) == 1


async def test_elsewhere_is_found_soon_however_much_waits_for_the_refused(
    outbox: Outbox, database: Database
) -> None:
    await fill(database, "attacked.example", 20_000)
    await fill(database, "example.com", 1)
    await fill(database, "attacked2.example", 20_000)
    await make_due(database)
    async with database.unbounded_transaction() as connection:
        await connection.exec_driver_sql("ANALYZE")
    begun = time.monotonic()

    claimed = await outbox.claim_elsewhere(10, refused=["attacked.example", "attacked2.example"])

    assert [email.recipient for email in claimed] == ["user0@example.com"]
    assert time.monotonic() - begun < 1


async def test_nothing_waits_elsewhere(outbox: Outbox) -> None:
    assert await outbox.claim_elsewhere(10, refused=["attacked.example"]) == []


async def test_what_was_held_is_due_at_once_unless_another_has_claimed_it(
    outbox: Outbox, database: Database
) -> None:
    held = await enqueue_claimed(database, name="held")
    claimed = await enqueue_claimed(database, name="claimed")
    await outbox.record(held, Released("550 5.7.1 no", delay=60))
    assert await outbox.claim(10) == []

    await outbox.make_due([(held.id, held.attempt), (claimed.id, claimed.attempt - 1)])

    assert [email.recipient for email in await outbox.claim(10)] == ["held@example.com"]


async def test_each_channel_claims_its_own_rows(outbox: Outbox, database: Database, metrics: Metrics) -> None:
    await enqueue(database, name="grace")
    await enqueue(database)
    async with database.transaction() as connection:
        await connection.execute(
            OUTBOX.update()
            .where(OUTBOX.c.recipient == "ada@example.com")
            .values(channel=ChannelName.WEBHOOK, kind=Kind.USER_CREATED, give_up_at=LONG_AGO)
        )
    webhook = Outbox(database, metrics, channel=ChannelName.WEBHOOK)

    assert await outbox.fail_expired("the relay is away") == 0
    assert [email.recipient for email in await outbox.claim_elsewhere(9, refused=[])] == ["grace@example.com"]
    assert [email.recipient for email in await webhook.claim(9, probing=True)] == ["ada@example.com"]
    assert await outbox.claim(9) == await webhook.claim(9) == []
