"""One PostgreSQL database for many tests: making one takes a hundred times as long as emptying it."""

from collections.abc import Sequence
from uuid import uuid4

import asyncpg
from sqlmodel import SQLModel

from tests.support.database import execute, with_database

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

    async def empty(self) -> str:
        """Its address. Whoever still uses it is cut off."""
        if not self._original or not await self._delete_rows():
            await self._create()
        return self._url

    async def remove(self) -> None:
        await execute(self._server, f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)")

    async def _create(self) -> None:
        await self.remove()
        await execute(self._server, f"CREATE DATABASE {self._name} TEMPLATE {self._template}")
        connection = await asyncpg.connect(self._url)
        tables = [row["relname"] for row in await connection.fetch(TABLES)]
        self._filled = [name for name in tables if await connection.fetchval(f"SELECT 1 FROM {name} LIMIT 1")]
        self._original = await self._read_original(connection)
        await connection.close()

    async def _delete_rows(self) -> bool:
        """Whether that was all there was to undo."""
        try:
            connection = await asyncpg.connect(self._url)
            try:
                await connection.execute(CUT_OFF_OTHERS)
                if await self._read_original(connection) != self._original:
                    return False
                tables = [table.name for table in reversed(SQLModel.metadata.sorted_tables)]
                await connection.execute(
                    "; ".join(f"DELETE FROM {name}" for name in tables if name not in self._filled)
                )
            finally:
                await connection.close()
        except asyncpg.PostgresError:
            return False
        return True

    async def _read_original(self, connection: asyncpg.Connection) -> Sequence[str]:
        """Everything but the rows that tests store."""
        rows = [f"SELECT string_agg(t::text, ' ' ORDER BY t::text) FROM {name} t" for name in self._filled]
        return [await connection.fetchval(query) for query in (SCHEMA, *rows)]
