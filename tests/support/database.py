"""Statements that a test sends to a database itself."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

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
def copy_database(server_url: str, template: str) -> Iterator[str]:
    """The URL of a copy. For fixtures that are not async."""
    name = f"copy_{uuid4().hex}"
    asyncio.run(execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield with_database(server_url, name)
    asyncio.run(execute(server_url, f"DROP DATABASE {name} WITH (FORCE)"))


@contextmanager
def no_more_pages_than(count: int) -> Iterator[None]:
    """For every connection that is opened meanwhile."""

    def limit(connection: Any, _: object) -> None:
        connection.cursor().execute(f"PRAGMA max_page_count = {count}")

    event.listen(Pool, "connect", limit)
    yield
    event.remove(Pool, "connect", limit)
