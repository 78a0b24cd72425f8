"""How far a signup has come: what became of its emails, and whether the address is confirmed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from service.database.email_status import EmailStatus
from service.database.engine import Database
from service.database.models import OUTBOX, USERS
from service.database.outbox_kinds import ChannelName, Kind
from service.outbox.repository import Outbox

AFTER_CONFIRMATION = "after_confirmation"  # in place of a status: when the welcome email is sent

StatusAndEnd = tuple[str, datetime | None]  # of an email; the end is None while it is pending


@dataclass(frozen=True, slots=True)
class Progress:
    welcome_email: str
    sent_at: datetime | None
    confirmation_email: str | None = None  # None if the user was never asked to confirm
    confirmed_at: datetime | None = None

    @classmethod
    def of(cls, emails: Mapping[str, StatusAndEnd], *, confirmed_at: datetime | None = None) -> "Progress":
        status, finished_at = emails.get(Kind.WELCOME, (AFTER_CONFIRMATION, None))
        return cls(
            welcome_email=status,
            sent_at=finished_at if status == EmailStatus.SENT else None,
            confirmation_email=emails[Kind.CONFIRMATION][0] if Kind.CONFIRMATION in emails else None,
            confirmed_at=confirmed_at,
        )


async def find(database: Database, user_id: UUID) -> Progress | None:
    """For `CONFIRMATION=link`. None if there is no such user. Raises DatabaseUnavailable."""
    async with database.read_only() as connection:
        found = await connection.execute(
            select(OUTBOX.c.kind, OUTBOX.c.status, OUTBOX.c.finished_at, USERS.c.confirmed_at)
            .join_from(USERS, OUTBOX, OUTBOX.c.user_id == USERS.c.id)
            .where(USERS.c.id == user_id, OUTBOX.c.channel == ChannelName.MAIL)
        )
        rows = found.all()
    emails = {row.kind: (row.status, row.finished_at) for row in rows}
    return Progress.of(emails, confirmed_at=rows[0].confirmed_at) if rows else None


async def find_welcome(outbox: Outbox, user_id: UUID) -> Progress | None:
    """For `CONFIRMATION=off`. None if there is no such user. Raises DatabaseUnavailable."""
    email = await outbox.find_welcome_status(user_id)
    return Progress.of({Kind.WELCOME: email}) if email else None
