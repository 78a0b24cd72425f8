"""What an operator does with users: look at them, hand them out, erase one."""

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from sqlalchemy import RowMapping, delete, func, select

from service.database.engine import Database
from service.database.models import USERS
from service.person.address import InvalidAddress, parse

PAGE = 1_000
SHOWN = (USERS.c.id, USERS.c.email, USERS.c.name, USERS.c.created_at)


class Users:
    """Every method raises DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self) -> int:
        async with self._database.read_only(timeout=None) as connection:
            return await connection.scalar(select(func.count()).select_from(USERS)) or 0

    async def newest(self, limit: int) -> Sequence[RowMapping]:
        async with self._database.read_only(timeout=None) as connection:
            found = await connection.execute(select(*SHOWN).order_by(USERS.c.id.desc()).limit(limit))
            return found.mappings().all()  # ids sort by time

    async def pages(self) -> AsyncIterator[Sequence[RowMapping]]:
        """All of them, the oldest first, a page in memory at a time and no transaction between two."""
        last = UUID(int=0)
        while page := await self._after(last):
            yield page
            last = page[-1]["id"]

    async def erase(self, address: str) -> UUID | None:
        """Deletes the user with this address, however it is spelled, and the email with them.

        Returns the id, which is all that the audit keeps; None if there is no such user.
        """
        try:
            canonical = parse(address).canonical
        except InvalidAddress:  # one that an older release may have taken
            canonical = address.strip().lower()
        async with self._database.transaction() as connection:
            erased = await connection.execute(
                delete(USERS).where(USERS.c.canonical_email == canonical).returning(USERS.c.id)
            )
            return erased.scalar_one_or_none()

    async def _after(self, last: UUID) -> Sequence[RowMapping]:
        async with self._database.read_only(timeout=None) as connection:
            found = await connection.execute(
                select(*SHOWN).where(USERS.c.id > last).order_by(USERS.c.id).limit(PAGE)
            )
            return found.mappings().all()
