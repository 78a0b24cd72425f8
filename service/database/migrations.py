"""Runs the migrations, and checks whether the database has them."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, column, inspect, select, table, text

from service.database.engine import Database, DatabaseUnavailable

MIGRATIONS_LOCK = 0x5167_6E75_70  # any number, but always this one
DDL_LOCK_TIMEOUT = "1s"  # signups queue behind a migration that waits for a lock, and give up after 2 s

OUR_REVISION = re.compile(r"\d{4}")  # in the order of releases; Alembic makes longer ones
RUN_MIGRATE = "run `signup-service migrate`"


async def migrate(database: Database) -> None:
    """Migrates the database to this release's revision. Several replicas may do so at once, and a
    newer schema stays as it is. Raises DatabaseUnavailable.
    """

    def upgrade(connection: Connection) -> None:
        if (revision := _find_revision(connection)) and _is_unknown(revision):
            if OUR_REVISION.fullmatch(revision):
                return
            raise DatabaseUnavailable(_describe_foreign_schema(revision))
        config = configuration()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    await run_locked(database, upgrade)


async def run_locked(database: Database, work: Callable[[Connection], None]) -> None:
    """Runs `work` in a transaction; only one process at a time can do so."""
    async with database.unbounded_transaction() as connection:
        if not database.is_sqlite:  # SQLite's transactions take the write lock at once
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATIONS_LOCK})
            await connection.execute(text(f"SET LOCAL lock_timeout = '{DDL_LOCK_TIMEOUT}'"))
        await connection.run_sync(work)


async def is_empty(database: Database) -> bool:
    """Whether the database has no table of emails. Raises DatabaseUnavailable."""
    async with database.read_only() as connection:
        return not await connection.run_sync(lambda sync: inspect(sync).has_table("outbox"))


async def find_problem(database: Database) -> str | None:
    """Why this release cannot work with the database's schema, or None. A newer schema is fine, because
    migrations only add. Raises DatabaseUnavailable.
    """
    async with database.read_only() as connection:
        revision = await connection.run_sync(_find_revision)
    head, older = _revisions()
    if revision is None:
        return f"The database was not migrated: {RUN_MIGRATE}."
    if revision in older:
        return f"The database is at revision {revision}, and this release needs {head}: {RUN_MIGRATE}."
    if _is_unknown(revision) and not OUR_REVISION.fullmatch(revision):
        return f"The database cannot be used: {_describe_foreign_schema(revision)}."
    return None


def configuration() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _find_revision(connection: Connection) -> str | None:
    """None before the first migration."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(
        select(column("version_num")).select_from(table("alembic_version"))
    )
    return revision


def _is_unknown(revision: str) -> bool:
    head, older = _revisions()
    return revision != head and revision not in older


def _describe_foreign_schema(revision: str) -> str:
    return f"the schema is another application's (revision {revision}); set DATABASE_URL to our own database"


def _folder() -> Path:
    """A wheel has the migrations inside the package, a checkout beside it."""
    package = Path(__file__).parent.parent
    packaged = package / "_migrations"
    return packaged if packaged.is_dir() else package.parent / "migrations"


@cache
def _revisions() -> tuple[str | None, frozenset[str]]:
    scripts = ScriptDirectory.from_config(configuration())
    head = scripts.get_current_head()
    return head, frozenset(script.revision for script in scripts.walk_revisions()) - {head or ""}
