"""Finds, exports and erases users, for an operator's commands and for retention."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, delete, func, select

from service.database import batches
from service.database.engine import Database
from service.database.models import OUTBOX, USERS
from service.database.outbox_kinds import ChannelName
from service.outbox.events import Events
from service.person.address import InvalidAddress, parse
from service.signup.renewals import IS_UNCONFIRMED

PAGE_SIZE = 1_000
SHOWN = (
    USERS.c.id,
    USERS.c.email,
    USERS.c.name,
    USERS.c.created_at,
    USERS.c.confirmation_asked_at,
    USERS.c.confirmed_at,
)


class Users:
    """Every method raises DatabaseUnavailable."""

    def __init__(self, database: Database, events: Events | None = None) -> None:
        self._database = database
        self._events = events

    async def count(self) -> int:
        async with self._database.read_only(timeout=None) as connection:
            return await connection.scalar(select(func.count()).select_from(USERS)) or 0

    async def find_newest(self, limit: int, *, address: str | None = None) -> Sequence[RowMapping]:
        """With an address, in any spelling, the user who has it."""
        newest = select(*SHOWN).order_by(USERS.c.id.desc()).limit(limit)  # ids sort by time
        if address is not None:
            newest = newest.where(USERS.c.canonical_email == _canonicalize(address))
        async with self._database.read_only(timeout=None) as connection:
            return (await connection.execute(newest)).mappings().all()

    async def pages(self) -> AsyncIterator[Sequence[Mapping[str, object]]]:
        """All of them with everything that is kept of them, the oldest first. One page is in memory at a
        time, and no transaction is open between two."""
        last = UUID(int=0)
        while page := await self._read_after(last):
            yield page
            last = page[-1]["id"]

    async def erase(self, address: str) -> UUID | None:
        """Deletes the user with this address, in any spelling, and all that is owed because of them; adds the
        event `user.erased`, if events are wanted.

        Returns the user's id, or None if there is no such user.
        """
        erased = await self._erase(USERS.c.canonical_email == _canonicalize(address))
        return erased[0] if erased else None

    async def erase_unconfirmed(self, user_id: UUID) -> bool:
        """Erases the user unless the address has been confirmed; returns whether it did."""
        return bool(await self._erase(USERS.c.id == user_id, IS_UNCONFIRMED))

    async def erase_long_unconfirmed(self, *, since: timedelta) -> int:
        """Erases users who were asked to confirm the address that long ago and have not; returns how many.

        A user who confirms meanwhile, or is asked again, is kept.
        """
        async with self._database.read_only() as connection:
            cutoff = await self._database.now(connection) - since
        batch = (
            select(USERS.c.id)
            .where(IS_UNCONFIRMED, USERS.c.confirmation_asked_at < cutoff)
            .limit(batches.BATCH_SIZE)
            .with_for_update(skip_locked=True)
            .cte("batch")
        )

        async def erase_batch() -> int:
            return len(await self._erase(USERS.c.id.in_(select(batch.c.id))))

        return await batches.delete_in_batches(erase_batch)

    async def _erase(self, *conditions: ColumnElement[bool]) -> Sequence[UUID]:
        async with self._database.transaction() as connection:
            erased = await connection.execute(delete(USERS).where(*conditions).returning(USERS.c.id))
            user_ids = erased.scalars().all()
            if self._events:
                await self._events.add_erased(connection, user_ids)
            return user_ids

    async def _read_after(self, last: UUID) -> list[dict[str, Any]]:
        page = select(USERS).where(USERS.c.id > last).order_by(USERS.c.id).limit(PAGE_SIZE)
        async with self._database.read_only(timeout=None) as connection:
            users = (await connection.execute(page)).mappings().all()
            ids = [user["id"] for user in users]
            owed = await connection.execute(
                select(OUTBOX).where(OUTBOX.c.user_id.in_(ids)).order_by(OUTBOX.c.id)
            )
            emails: defaultdict[UUID, list[RowMapping]] = defaultdict(list)
            events: defaultdict[UUID, list[RowMapping]] = defaultdict(list)
            for row in owed.mappings():
                kept = emails if row["channel"] == ChannelName.MAIL else events
                kept[row["user_id"]].append(row)
        return [{**user, "emails": emails[user["id"]], "events": events[user["id"]]} for user in users]


def _canonicalize(address: str) -> str:
    try:
        return parse(address).canonical
    except InvalidAddress:  # one that an older release may have accepted
        return address.strip().lower()
