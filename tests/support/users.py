"""Stores users without a signup."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from service.database.engine import Database
from service.database.models import User
from service.person.address import parse
from service.runtime.ids import new_id


async def store(database: Database, *people: tuple[str, str | None]) -> list[UUID]:
    """Stores users with these addresses and names, in this order."""
    ids = [new_id() for _ in people]
    async with database.transaction() as connection:
        await connection.execute(
            database.insert(User),
            [
                {
                    "id": user_id,
                    "email": email,
                    "canonical_email": parse(email).canonical,
                    "name": name,
                    "created_at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
                }
                for number, (user_id, (email, name)) in enumerate(zip(ids, people, strict=True))
            ],
        )
    return ids


def numbered(count: int) -> Sequence[tuple[str, str | None]]:
    return [(f"user{number}@example.com", None) for number in range(count)]
