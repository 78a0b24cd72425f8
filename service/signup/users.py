"""What an operator does with users: list, export and erase them."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, delete, func, select

from service.database.engine import Database
from service.database.models import OUTBOX, USERS
from service.database.outbox_kinds import ChannelName
from service.outbox.events import Events
from service.person.address import InvalidAddress, parse

PAGE_SIZE = 1_000
SHOWN = (USERS.c.id, USERS.c.email, USERS.c.name, USERS.c.created_at)


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
        async with self._database.transaction() as connection:
            erased = await connection.execute(
                delete(USERS).where(USERS.c.canonical_email == _canonicalize(address)).returning(USERS.c.id)
            )
            user_id: UUID | None = erased.scalar_one_or_none()
            if user_id and self._events:
                await self._events.add_erased(connection, user_id)
            return user_id

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
