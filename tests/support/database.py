"""Statements that a test sends to a database itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from sqlalchemy import event
from sqlalchemy.pool import Pool

from service.database.engine import Database


async def rows(database: Database, statement: str) -> list[Any]:
    """The rows of a statement, to assert on what is stored."""
    async with database.read_only(timeout=None) as connection:
        return list((await connection.exec_driver_sql(statement)).mappings())


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


def with_database(url: str, name: str) -> str:
    """The URL of another database on the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@contextmanager
def no_more_pages_than(count: int) -> Iterator[None]:
    """For every connection that is opened meanwhile."""

    def limit(connection: Any, _: object) -> None:
        connection.cursor().execute(f"PRAGMA max_page_count = {count}")

    event.listen(Pool, "connect", limit)
    yield
    event.remove(Pool, "connect", limit)
