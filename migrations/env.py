"""Runs the migrations on the connection that `service.database.migrations` hands over, or, under the
`alembic` command, on the database of the settings."""

import asyncio

from alembic import context
from sqlalchemy import Connection
from sqlmodel import SQLModel

from service.database import migrations, models
from service.database.engine import Database
from service.settings.loading import load


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=SQLModel.metadata,
        # SQLite cannot alter most of a table in place.
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_on_the_configured_database() -> None:
    database = Database(load())
    try:
        await migrations.run_locked(database, run)
    finally:
        await database.close()


assert models.User.__tablename__  # noqa: S101  # the import fills the metadata

if (handed_over := context.config.attributes.get("connection")) is not None:
    run(handed_over)
else:
    asyncio.run(run_on_the_configured_database())
