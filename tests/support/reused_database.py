"""One PostgreSQL database for many tests: making one takes a hundred times as long as emptying it."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import asyncpg
from sqlmodel import SQLModel

from tests.support.database import execute, with_database
from tests.support.loop_thread import LoopThread

# What a test may change beside rows: tables, rights, triggers, settings of the database.
SCHEMA = """
SELECT string_agg(fact, ' ' ORDER BY fact) FROM (
  SELECT concat('relation ', oid, ' ', xmin) FROM pg_class WHERE relnamespace = 'public'::regnamespace
  UNION ALL SELECT concat('trigger ', oid, ' ', xmin) FROM pg_trigger
  UNION ALL SELECT concat('setting ', setrole, setconfig) FROM pg_db_role_setting
    WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
) AS facts (fact)
"""
TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
CUT_OFF_OTHERS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class ReusedDatabase:
    """Emptied for each test, and made anew after one that changed more than rows."""

    def __init__(self, server: str, *, template: str) -> None:
        self._server = server
        self._template = template
        self._name = f"test_{uuid4().hex}"
        self._url = with_database(server, self._name)
        self._filled: Sequence[str] = ()  # tables with rows from the migrations, which stay
        self._original: Sequence[str] = ()
        self._thread = LoopThread()  # of the connection, which is kept from test to test
        self._connection: asyncpg.Connection | None = None

    async def empty(self) -> str:
        """Its address. Whoever still uses it is cut off."""
        await asyncio.wrap_future(self._thread.start(self._empty()))
        return self._url

    def remove(self) -> None:
        self._thread.do(self._drop())
        self._thread.stop()

    async def _empty(self) -> None:
        if not self._connection or not await self._delete_rows(self._connection):
            await self._create()

    async def _drop(self) -> None:
        if self._connection:
            await self._connection.close()
        await execute(self._server, f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)")

    async def _create(self) -> None:
        await self._drop()
        await execute(self._server, f"CREATE DATABASE {self._name} TEMPLATE {self._template}")
        self._connection = connection = await asyncpg.connect(self._url)
        tables = [row["relname"] for row in await connection.fetch(TABLES)]
        self._filled = [name for name in tables if await connection.fetchval(f"SELECT 1 FROM {name} LIMIT 1")]
        self._original = await self._read_original(connection)

    async def _delete_rows(self, connection: asyncpg.Connection) -> bool:
        """Whether that was all there was to undo."""
        try:
            await connection.execute(CUT_OFF_OTHERS)
            if await self._read_original(connection) != self._original:
                return False
            tables = [table.name for table in reversed(SQLModel.metadata.sorted_tables)]
            await connection.execute(
                "; ".join(f"DELETE FROM {name}" for name in tables if name not in self._filled)
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            return False
        return True

    async def _read_original(self, connection: asyncpg.Connection) -> Sequence[str]:
        """Everything but the rows that tests store."""
        rows = [f"SELECT string_agg(t::text, ' ' ORDER BY t::text) FROM {name} t" for name in self._filled]
        return [await connection.fetchval(query) for query in (SCHEMA, *rows)]
