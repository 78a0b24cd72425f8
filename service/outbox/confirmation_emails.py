"""Confirmation emails: sent again when they are asked for again, and followed by the welcome email."""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, bindparam, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.email_status import EmailStatus
from service.database.engine import Database
from service.database.models import OUTBOX
from service.database.outbox_kinds import Kind
from service.outbox.sql import GIVE_UP_AFTER
from service.runtime.ids import new_id

COPIED = (
    OUTBOX.c.user_id,
    OUTBOX.c.channel,
    OUTBOX.c.recipient,
    OUTBOX.c.domain,
    OUTBOX.c.name,
    OUTBOX.c.locale,
)


class ConfirmationEmails:
    """Each method runs in the caller's transaction."""

    def __init__(self, database: Database) -> None:
        due: dict[str, ColumnElement[Any]] = {
            "status": literal(EmailStatus.PENDING),
            "deferrals": literal(0),
            "due_at": database.clock(),
            "give_up_at": database.clock(after=GIVE_UP_AFTER),
            "created_at": database.clock(),
        }
        self._renew = update(OUTBOX).values(
            **due,
            attempt=OUTBOX.c.attempt + 1,
            renewals=func.coalesce(OUTBOX.c.renewals, 0) + 1,
            finished_at=None,
        )
        welcome: dict[str, ColumnElement[Any]] = {
            "id": bindparam("email_id", type_=OUTBOX.c.id.type),
            "kind": literal(Kind.WELCOME),
            "request_id": bindparam("for_request", type_=OUTBOX.c.request_id.type),
            "attempt": literal(0),
            **due,
        }
        self._enqueue_welcome = OUTBOX.insert().from_select(
            [*welcome, *(column.name for column in COPIED)],
            select(*welcome.values(), *COPIED).where(
                OUTBOX.c.user_id == bindparam("of_user", type_=OUTBOX.c.user_id.type),
                OUTBOX.c.kind == Kind.CONFIRMATION,
            ),
        )

    async def renew(self, connection: AsyncConnection, user_ids: Collection[UUID]) -> None:
        """Makes the same rows due again, whatever has become of them, each as another mail."""
        await connection.execute(
            self._renew.where(OUTBOX.c.user_id.in_(user_ids), OUTBOX.c.kind == Kind.CONFIRMATION)
        )

    async def enqueue_welcome(self, connection: AsyncConnection, request_ids: Mapping[UUID, str]) -> None:
        """To each of these users, to the address that the confirmation email went to."""
        await connection.execute(
            self._enqueue_welcome,
            [
                {"email_id": new_id(), "of_user": user_id, "for_request": request_id}
                for user_id, request_id in request_ids.items()
            ],
        )
