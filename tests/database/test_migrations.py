"""The migrations on both databases, in both directions, from a checkout and from a wheel."""

import asyncio
import shutil
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic import command
from hatchling.build import build_wheel
from sqlalchemy import Connection, TableClause, column, insert, inspect
from sqlalchemy import table as table_of
from sqlalchemy.schema import Table

from service.database import migrations
from service.database.email_status import EmailStatus
from service.database.engine import Database, DatabaseUnavailable
from service.database.models import OUTBOX, USERS
from service.runtime.ids import new_id
from service.settings import Settings
from tests.support.commands import run_program
from tests.support.database import rows
from tests.support.forks import ROOT

NEW_COLUMNS = (
    *("channel", "kind", "subject_id", "reason", "renewals"),  # of the outbox
    *("confirmation_asked_at", "confirmed_at"),  # of users
)


@pytest.fixture
async def empty(empty_database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(Settings(database_url=empty_database_url, data_dir=tmp_path))
    yield database
    await database.close()


async def tables(database: Database) -> set[str]:
    async with database.read_only() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


async def run(database: Database, action: str, *arguments: str) -> None:
    def with_connection(connection: Connection) -> None:
        config = migrations.configuration()
        config.attributes["connection"] = connection
        getattr(command, action)(config, *arguments)

    await migrations.run_locked(database, with_connection)


async def test_up_and_down_and_up_again(empty: Database) -> None:
    await migrations.migrate(empty)
    assert {"users", "outbox", "audit_log", "audit_instances"} <= await tables(empty)

    await run(empty, "downgrade", "base")
    assert await tables(empty) == {"alembic_version"}
    assert "migrate" in (await migrations.find_problem(empty) or "")

    await migrations.migrate(empty)
    assert await migrations.find_problem(empty) is None


async def test_the_models_and_the_migrations_say_the_same(empty: Database) -> None:
    await migrations.migrate(empty)

    await run(empty, "check")


async def test_what_is_stored_outlives_newer_columns(empty: Database) -> None:
    await run(empty, "upgrade", "0001")
    await store_as_in_the_first_release(empty, "ada")

    await migrations.migrate(empty)
    await store_as_in_the_first_release(empty, "grace")  # by a replica that is not updated yet

    found = await rows(empty, "SELECT recipient, channel, kind FROM outbox ORDER BY id")
    assert [tuple(row.values()) for row in found] == [
        ("ada@example.com", "mail", "welcome"),
        ("grace@example.com", "mail", "welcome"),
    ]
    await run(empty, "downgrade", "0001")
    users = await rows(empty, "SELECT id FROM users ORDER BY id")
    emails = await rows(empty, "SELECT user_id FROM outbox ORDER BY user_id")
    assert [row["id"] for row in users] == [row["user_id"] for row in emails]
    assert len(users) == 2


async def test_erasing_a_user_erases_what_is_owed_because_of_them(empty: Database) -> None:
    await run(empty, "upgrade", "0001")
    await store_as_in_the_first_release(empty, "ada")
    await migrations.migrate(empty)

    async with empty.transaction() as connection:
        await connection.execute(USERS.delete())

    assert await rows(empty, "SELECT * FROM outbox") == []


async def store_as_in_the_first_release(database: Database, name: str) -> None:
    user_id, address = new_id(), f"{name}@example.com"
    async with database.transaction() as connection:
        now = await database.now(connection)
        user = {"id": user_id, "email": address, "canonical_email": address, "created_at": now}
        email = {
            "id": new_id(),
            "user_id": user_id,
            "recipient": address,
            "domain": "example.com",
            "request_id": "r",
            "status": EmailStatus.PENDING,
            "attempt": 0,
            "deferrals": 0,
            "due_at": now,
            "give_up_at": now,
            "created_at": now,
        }
        for stored, row in ((USERS, user), (OUTBOX, email)):
            await connection.execute(insert(_of_the_first_release(stored)).values(**row))


def _of_the_first_release(stored: Table) -> TableClause:
    columns = (column(each.name, each.type) for each in stored.columns if each.name not in NEW_COLUMNS)
    return table_of(stored.name, *columns)


async def test_two_replicas_may_migrate_at_once(
    empty: Database, empty_database_url: str, tmp_path: Path
) -> None:
    others = [Database(Settings(database_url=empty_database_url, data_dir=tmp_path)) for _ in range(3)]

    await asyncio.gather(*(migrations.migrate(database) for database in (empty, *others)))

    assert await migrations.find_problem(empty) is None
    for database in others:
        await database.close()


async def test_a_database_without_the_schema_is_named_with_the_mend(empty: Database) -> None:
    assert "migrate" in (await migrations.find_problem(empty) or "")


async def test_an_older_schema_is_trouble_and_a_newer_one_is_not(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrations.migrate(empty)
    head, _ = migrations._revisions()

    monkeypatch.setattr(migrations, "_revisions", lambda: ("9999", frozenset({head})))
    assert "9999" in (await migrations.find_problem(empty) or "")

    monkeypatch.setattr(migrations, "_revisions", lambda: ("0000", frozenset()))
    assert await migrations.find_problem(empty) is None
    await migrations.migrate(empty)
    assert {"users", "outbox"} <= await tables(empty)


async def test_a_schema_of_another_application_is_left_alone(empty: Database) -> None:
    await migrations.migrate(empty)
    async with empty.transaction() as connection:
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'ae1027a6acf5'")

    with pytest.raises(DatabaseUnavailable, match="another application's"):
        await migrations.migrate(empty)


def test_the_wheel_carries_the_migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    wheel = tmp_path / build_wheel(f"{tmp_path}")  # what pip calls
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


@pytest.mark.parametrize("action", [["upgrade", "head"], ["check"]])
def test_the_alembic_command_finds_its_settings_in_pyproject(
    migrated_file: Path, tmp_path: Path, action: list[str]
) -> None:
    if action == ["check"]:
        shutil.copy(migrated_file, tmp_path / "service.db")

    run_program(
        f"import os; from alembic.config import main; os.chdir({str(ROOT)!r}); main({action})",
        folder=tmp_path,
        DATA_DIR=tmp_path,
    )

    assert (tmp_path / "service.db").exists()
