"""Creates databases that sync to disk, and fills them with rows."""

import itertools
import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import asyncpg
from sqlalchemy import (
    CTE,
    ColumnElement,
    Insert,
    String,
    Uuid,
    cast,
    func,
    literal,
    select,
    text,
    type_coerce,
)

from service.database import migrations
from service.database.email_status import EmailStatus
from service.database.engine import Database
from service.database.models import OUTBOX, USERS
from service.outbox.sql import GIVE_UP_AFTER
from service.settings import Settings
from tests.support.postgres import Postgres

MOMENT = OUTBOX.c.due_at.type


class Engine(StrEnum):
    POSTGRESQL = "postgresql"
    SQLITE = "sqlite"


class Store:
    """A migrated database for one variant."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.database = Database(Settings(database_url=url))

    async def count_audited_signups(self, audit: str) -> int:
        """How many signups this audit table has."""
        counted = f"SELECT count(*) FROM {audit} WHERE method = 'POST'"  # noqa: S608  # our own names
        async with self.database.read_only() as connection:
            return int((await connection.execute(text(counted))).scalar_one())

    async def fill(self, count: int, *, status: EmailStatus, above: int = 0) -> None:
        """Inserts users and emails, numbered from `above`. The database itself makes the rows."""
        numbers = _numbers(above + 1, above + count)
        async with self.database.unbounded_transaction() as connection:
            await connection.execute(self._users(numbers))
            await connection.execute(self._emails(numbers, status))
            if not self.database.is_sqlite:
                await connection.execute(text("ANALYZE"))  # as autovacuum does within a minute

    async def make_due(self) -> None:
        """Makes all waiting emails due again."""
        waiting = OUTBOX.c.status == EmailStatus.PENDING
        async with self.database.unbounded_transaction() as connection:
            await connection.execute(OUTBOX.update().where(waiting).values(due_at=OUTBOX.c.created_at))

    def _users(self, numbers: CTE) -> Insert:
        values: dict[str, ColumnElement[Any]] = {
            "id": self._id(numbers),
            "email": _address(numbers),
            "canonical_email": _address(numbers),
            "name": literal("Ada"),
            "created_at": literal(datetime.now(UTC), MOMENT),
        }
        return USERS.insert().from_select([*values], select(*values.values()).select_from(numbers))

    def _emails(self, numbers: CTE, status: EmailStatus) -> Insert:
        an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
        values: dict[str, ColumnElement[Any]] = {
            "id": self._id(numbers),
            "user_id": self._id(numbers),
            "recipient": _address(numbers),
            "domain": literal("example.com"),
            "name": literal("Ada"),
            "request_id": literal("filled"),
            "status": literal(status.value),
            "attempt": literal(0),
            "deferrals": literal(0),
            "due_at": literal(an_hour_ago, MOMENT),
            "give_up_at": literal(an_hour_ago + GIVE_UP_AFTER, MOMENT),
            "created_at": literal(an_hour_ago, MOMENT),
            "finished_at": literal(None if status is EmailStatus.PENDING else an_hour_ago, MOMENT),
        }
        return OUTBOX.insert().from_select([*values], select(*values.values()).select_from(numbers))

    def _id(self, numbers: CTE) -> ColumnElement[UUID]:
        if self.database.is_sqlite:
            return type_coerce(func.printf("%032x", numbers.c.n), Uuid())
        return cast(func.lpad(func.to_hex(numbers.c.n), 32, "0"), Uuid())


class Databases(Protocol):
    """Creates databases on one engine."""

    def create(self) -> AbstractAsyncContextManager[Store]: ...


class PostgresqlDatabases:
    def __init__(self, server: Postgres, template: str) -> None:
        self._server = server
        self._template = template
        self._names = (f"bench_{number}" for number in itertools.count())

    @classmethod
    @asynccontextmanager
    async def start(cls, _: Path) -> AsyncIterator[Databases]:
        # fsync and synchronous_commit are on: PostgreSQL's defaults.
        server = Postgres(max_connections="200")
        try:
            await server.created("migrated")
            yield cls(server, "migrated")
        finally:
            server.remove()

    @asynccontextmanager
    async def create(self) -> AsyncIterator[Store]:
        name = next(self._names)
        # A checkpoint, so that a variant does not pay for earlier writes.
        await self._execute(f"CREATE DATABASE {name} TEMPLATE {self._template}", "CHECKPOINT")
        store = Store(self._server.url(name))
        try:
            yield store
        finally:
            await store.database.close()
            await self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def _execute(self, *statements: str) -> None:
        connection = await asyncpg.connect(self._server.url("postgres"))
        for statement in statements:
            await connection.execute(statement)
        await connection.close()


class SqliteDatabases:
    def __init__(self, folder: Path, template: Path) -> None:
        self._folder = folder
        self._template = template
        self._names = (f"bench_{number}" for number in itertools.count())

    @classmethod
    @asynccontextmanager
    async def start(cls, folder: Path) -> AsyncIterator[Databases]:
        template = folder / "migrated.db"
        database = Database(Settings(database_url=f"sqlite:///{template}"))
        await migrations.migrate(database)
        await database.close()
        yield cls(folder, template)

    @asynccontextmanager
    async def create(self) -> AsyncIterator[Store]:
        folder = self._folder / next(self._names)
        folder.mkdir()
        shutil.copy(self._template, folder / "service.db")
        store = Store(f"sqlite:///{folder}/service.db")
        try:
            yield store
        finally:
            await store.database.close()
            shutil.rmtree(folder)


STARTERS = {Engine.POSTGRESQL: PostgresqlDatabases.start, Engine.SQLITE: SqliteDatabases.start}


def _numbers(first: int, last: int) -> CTE:
    numbers = select(literal(first).label("n")).cte("numbers", recursive=True)
    return numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < last))


def _address(numbers: CTE) -> ColumnElement[str]:
    return literal("filled") + cast(numbers.c.n, String) + literal("@example.com")
