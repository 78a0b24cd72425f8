"""The migrations, on both databases, in both directions, from wherever they are."""

import asyncio
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Connection, TableClause, column, insert, inspect
from sqlalchemy import table as sql_table
from sqlmodel import SQLModel

from service.database import migrations
from service.database.email_status import EmailStatus
from service.database.engine import Database
from service.database.models import OutboxEmail, User, table
from service.runtime.ids import new_id
from service.settings import Settings
from tests.conftest import rows
from tests.support.processes import ROOT

NEW_COLUMNS = ("untagged_email", "locale")  # that a later release than the first brought


@pytest.fixture
async def empty(empty_database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(Settings(database_url=empty_database_url, data_dir=tmp_path))
    yield database
    await database.close()


async def tables(database: Database) -> set[str]:
    async with database.reading() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


async def run(database: Database, action: str, *arguments: str) -> None:
    def with_connection(connection: Connection) -> None:
        config = migrations.configuration()
        config.attributes["connection"] = connection
        getattr(command, action)(config, *arguments)

    await migrations.locked(database, with_connection)


async def test_up_and_down_and_up_again(empty: Database) -> None:
    await migrations.migrate(empty)
    assert {"users", "outbox", "audit_log", "audit_instances"} <= await tables(empty)

    await run(empty, "downgrade", "base")
    assert await tables(empty) == {"alembic_version"}
    assert "migrate" in (await migrations.trouble(empty) or "")

    await migrations.migrate(empty)
    assert await migrations.trouble(empty) is None


async def test_what_is_stored_outlives_the_newer_columns(empty: Database) -> None:
    await run(empty, "upgrade", "0001")
    await store_as_in_the_first_release(empty, "ada")

    await migrations.migrate(empty)
    await store_as_in_the_first_release(empty, "grace")  # by a replica that is not updated yet

    await run(empty, "downgrade", "0001")
    assert [row["user_id"] for row in await rows(empty, "SELECT user_id FROM outbox")] == [
        row["id"] for row in await rows(empty, "SELECT id FROM users")
    ]
    assert len(await rows(empty, "SELECT id FROM users")) == 2


async def store_as_in_the_first_release(database: Database, name: str) -> None:
    user_id, address = new_id(), f"{name}@example.com"
    async with database.transaction() as connection:
        now = await database.now(connection)
        user = {"id": user_id, "email": address, "canonical_email": address, "created_at": now}
        email = {
            "id": new_id(),
            "user_id": user_id,
            "recipient": address,
            "request_id": "r",
            "status": EmailStatus.PENDING,
            "attempt": 0,
            "deferrals": 0,
            "due_at": now,
            "give_up_at": now,
            "created_at": now,
        }
        for model, row in ((User, user), (OutboxEmail, email)):
            await connection.execute(insert(_of_the_first_release(model)).values(**row))


def _of_the_first_release(model: type[SQLModel]) -> TableClause:
    columns = (column(each.name, each.type) for each in table(model).columns if each.name not in NEW_COLUMNS)
    return sql_table(table(model).name, *columns)


async def test_the_models_and_the_migrations_say_the_same(empty: Database) -> None:
    await migrations.migrate(empty)

    await run(empty, "check")


async def test_two_replicas_may_migrate_at_once(
    empty: Database, empty_database_url: str, tmp_path: Path
) -> None:
    others = [Database(Settings(database_url=empty_database_url, data_dir=tmp_path)) for _ in range(3)]

    await asyncio.gather(*(migrations.migrate(database) for database in (empty, *others)))

    assert await migrations.trouble(empty) is None
    for database in others:
        await database.close()


async def test_a_database_without_the_schema_is_named_with_the_mend(empty: Database) -> None:
    assert "migrate" in (await migrations.trouble(empty) or "")


async def test_an_older_schema_is_trouble_and_a_newer_one_is_not(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrations.migrate(empty)
    head, _ = migrations._revisions()

    monkeypatch.setattr(migrations, "_revisions", lambda: ("9999", frozenset({head})))
    assert "9999" in (await migrations.trouble(empty) or "")

    monkeypatch.setattr(migrations, "_revisions", lambda: ("0000", frozenset()))
    assert await migrations.trouble(empty) is None


def test_the_wheel_carries_the_migrations(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "-w", f"{tmp_path}", f"{ROOT}"], check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")

    migrated = subprocess.run(
        [sys.executable, "-m", "service", "migrate"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "installed"), "DATA_DIR": str(tmp_path / "fresh")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert migrated.returncode == 0, migrated.stderr
    assert (tmp_path / "fresh" / "service.db").exists()


def test_the_alembic_command_finds_its_settings_in_pyproject(tmp_path: Path) -> None:
    environment = {"DATA_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    for action in (["upgrade", "head"], ["check"]):
        done = subprocess.run(
            [sys.executable, "-m", "alembic", *action],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
