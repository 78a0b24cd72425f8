"""Stores rows in the outbox as signups do, and ages them."""

from datetime import UTC, datetime

from service.database.engine import Database
from service.database.json_rows import encode_rows
from service.database.models import OUTBOX, User, table
from service.outbox.row import Email, NewEmail
from service.outbox.sql import enqueue_statement
from service.runtime.ids import new_id


async def enqueue(database: Database, *, name: str = "ada", domain: str = "example.com") -> None:
    """Stores a user with an email, as a signup does that leaves it to the worker."""
    await _enqueue(database, name, domain, claimed=False)


async def enqueue_claimed(database: Database, *, name: str = "ada", domain: str = "example.com") -> Email:
    """Stores a user with an email that is being delivered."""
    email = (await _enqueue(database, name, domain, claimed=True)).to_claimed()
    assert email
    return email


async def _enqueue(database: Database, name: str, domain: str, *, claimed: bool) -> NewEmail:
    user_id = new_id()
    async with database.transaction() as connection:
        now = await database.now(connection)
        await connection.execute(
            database.insert(User),
            {
                "id": user_id,
                "email": f"{name}@example.com",
                "canonical_email": f"{user_id}@example.com",
                "created_at": now,
            },
        )
        email = NewEmail(
            user_id=user_id,
            recipient=f"{name}@{domain}",
            name=name.title(),
            request_id="r",
            claimed=claimed,
        )
        await connection.execute(
            enqueue_statement(database, table(User)), {"emails": encode_rows([email.row()])}
        )
        return email


async def make_due(database: Database) -> None:
    async with database.transaction() as connection:
        long_ago = datetime(2020, 1, 1, tzinfo=UTC)
        await connection.execute(OUTBOX.update().values(due_at=long_ago))
