"""Adds events to the outbox, in the transaction of what they are about."""

from collections.abc import Iterable, Mapping
from typing import Any, Self
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.email_status import EmailStatus
from service.database.engine import Database
from service.database.models import OUTBOX
from service.database.outbox_kinds import ChannelName, Kind
from service.outbox.sql import GIVE_UP_AFTER
from service.runtime.ids import new_id
from service.settings import Settings


class Events:
    """`user.created` is added by the signup's own statement."""

    def __init__(self, database: Database) -> None:
        self._statement = OUTBOX.insert().values(
            channel=ChannelName.WEBHOOK,
            status=EmailStatus.PENDING,
            recipient="",
            domain="",
            attempt=0,
            deferrals=0,
            due_at=database.clock(),
            give_up_at=database.clock(after=GIVE_UP_AFTER),
            created_at=database.clock(),
        )

    @classmethod
    def from_settings(cls, settings: Settings, *, database: Database) -> Self | None:
        """None if nobody is told of events."""
        return cls(database) if settings.webhook_url else None

    async def add_failed(self, connection: AsyncConnection, rows: Iterable[RowMapping]) -> None:
        """`email.failed` for each of the rows that is an email and has failed."""
        await self._add(
            connection,
            [
                {
                    "kind": Kind.EMAIL_FAILED,
                    "user_id": row["user_id"],
                    "subject_id": row["id"],
                    "reason": row["last_reply"],
                    "request_id": row["request_id"],
                }
                for row in rows
                if row["channel"] == ChannelName.MAIL and row["status"] == EmailStatus.FAILED
            ],
        )

    async def add_confirmed(self, connection: AsyncConnection, request_ids: Mapping[UUID, str]) -> None:
        """`user.confirmed` for each of these users, with the ID of the request that confirmed them."""
        event = {"kind": Kind.USER_CONFIRMED, "subject_id": None, "reason": None}
        await self._add(
            connection,
            [
                {**event, "user_id": user_id, "request_id": request_id}
                for user_id, request_id in request_ids.items()
            ],
        )

    async def add_erased(self, connection: AsyncConnection, user_ids: Iterable[UUID]) -> None:
        """`user.erased` for each of these users."""
        event = {"kind": Kind.USER_ERASED, "user_id": None, "reason": None, "request_id": ""}
        await self._add(connection, [{**event, "subject_id": user_id} for user_id in user_ids])

    async def _add(self, connection: AsyncConnection, events: list[dict[str, Any]]) -> None:
        if events:
            await connection.execute(self._statement, [{"id": new_id(), **event} for event in events])
