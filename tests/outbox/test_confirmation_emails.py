"""Confirmation emails: made due again as other mails, and followed by the welcome email."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from service.database.engine import Database
from service.database.models import OUTBOX
from service.database.outbox_kinds import Kind
from service.outbox.admin import OutboxAdmin
from service.outbox.confirmation_emails import ConfirmationEmails
from service.outbox.repository import Outbox
from service.outbox.row import Email, Sent
from tests.support.database import rows
from tests.support.outbox import enqueue_claimed

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
async def claimed(database: Database) -> Email:
    """The confirmation email of a user who signed up long ago, on its way to the relay."""
    email = await enqueue_claimed(database)
    async with database.transaction() as connection:
        await connection.execute(OUTBOX.update().values(kind=Kind.CONFIRMATION, created_at=LONG_AGO))
    return email


async def renew(database: Database, email: Email) -> None:
    assert email.user_id
    async with database.transaction() as connection:
        await ConfirmationEmails(database).renew(connection, [email.user_id])


async def test_one_that_is_renewed_on_its_way_is_sent_again(
    database: Database, outbox: Outbox, claimed: Email
) -> None:
    await renew(database, claimed)
    await outbox.record(claimed, Sent("250 the one before"))

    [again] = await outbox.claim(10)

    assert (again.id, again.user_id, again.renewals) == (claimed.id, claimed.user_id, 1)
    assert again.kind == Kind.CONFIRMATION


async def test_one_that_is_renewed_has_not_waited_since_the_signup(
    database: Database, outbox: Outbox, claimed: Email
) -> None:
    await outbox.record(claimed, Sent("250"))

    await renew(database, claimed)

    depth = await OutboxAdmin(database).queue_depth()
    assert depth.pending == 1
    assert depth.overdue < timedelta(minutes=1)


async def test_the_welcome_email_goes_to_the_same_person(database: Database, claimed: Email) -> None:
    assert claimed.user_id
    async with database.transaction() as connection:
        await ConfirmationEmails(database).enqueue_welcome(connection, {claimed.user_id: "click"})

    asked, welcome = await rows(database, "SELECT * FROM outbox ORDER BY created_at")
    for same in ("user_id", "channel", "recipient", "domain", "name", "locale"):
        assert welcome[same] == asked[same]
    assert (welcome["kind"], welcome["status"], welcome["request_id"]) == ("welcome", "pending", "click")
    assert UUID(str(welcome["id"])) != claimed.id
