"""Ready means that a signup can be stored."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from service.cli.common import find_database_problem
from service.database import migrations
from service.database.engine import Database, DatabaseUnavailable
from service.database.readiness import find_damage, find_problem
from service.settings import Settings
from tests.support.database import execute, rows
from tests.support.postgres import Postgres
from tests.support.small_disk import fill, mounted

NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users may enter."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


@contextlib.contextmanager
def another_user() -> Iterator[None]:
    if os.geteuid():  # then the file's mode is enough
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(mounted(folder, size="1m"))
        except subprocess.CalledProcessError:
            pytest.skip("it takes root to mount a disk")
        yield folder


def damage(file: Path) -> None:
    """Writes pages where others belong, as an old -wal does."""
    content = bytearray(file.read_bytes())
    pages = [slice(at, at + 4096) for at in range(0, len(content), 4096)]
    content[pages[3]], content[pages[5]] = content[pages[5]], content[pages[3]]
    file.write_bytes(content)


def at(url: str) -> Database:
    return Database(Settings(database_url=SecretStr(url)))


async def test_a_database_that_takes_signups_is_ready_and_stays_as_it_was(database: Database) -> None:
    assert await find_problem(database) is None
    assert await rows(database, "SELECT id FROM users") == []


async def test_a_schema_of_another_application_is_named(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'ae1027a6acf5'")

    assert "ae1027a6acf5" in (await find_problem(database) or "")


async def test_a_full_disk_under_sqlite(migrated_file: Path, small_disk: Path) -> None:
    database = at(f"sqlite:///{shutil.copy(migrated_file, small_disk)}")
    assert await find_problem(database) is None

    fill(small_disk / "filler")
    assert "No space left on device" in (await find_problem(database) or "")

    (small_disk / "filler").unlink()
    assert await find_problem(database) is None
    await database.close()


async def test_every_command_names_a_full_disk_though_sqlite_cannot(
    migrated_file: Path, small_disk: Path
) -> None:
    database = at(f"sqlite:///{shutil.copy(migrated_file, small_disk)}")
    fill(small_disk / "filler")

    for storing in (False, True):
        problem = await find_database_problem(database, storing=storing)

        expected = "cannot be written (No space left on device): make room there, or change its owner."
        assert problem == f"{small_disk} {expected}"
    await database.close()


@pytest.fixture(params=["", "-wal"])
def foreign_file(request: pytest.FixtureRequest, migrated_file: Path, folder: Path) -> Path:
    """A file of a database that only its owner may write."""
    database = Path(shutil.copy(migrated_file, folder))
    database.chmod(0o666)
    foreign = database.with_name(database.name + request.param)
    foreign.touch()
    foreign.chmod(0o444)
    return foreign


async def test_a_file_of_another_owner(foreign_file: Path, folder: Path) -> None:
    database = at(f"sqlite:///{folder}/service.db")
    await asyncio.to_thread(lambda: None)  # imports what the other user cannot

    with another_user():
        problem = await find_problem(database)

    assert f"{foreign_file.name} cannot be written" in (problem or "")
    await database.close()


@pytest.fixture
def closed_folder(migrated_file: Path, folder: Path) -> Iterator[Path]:
    shutil.copy(migrated_file, folder)
    folder.chmod(0o000)
    yield folder
    folder.chmod(0o700)


async def test_a_folder_that_nobody_may_enter_is_named(closed_folder: Path) -> None:
    settings = Settings(database_url=SecretStr(f"sqlite:///{closed_folder}/service.db"))
    database = Database(settings, create=False)
    await asyncio.to_thread(lambda: None)  # imports what the other user cannot

    with another_user():
        problem = await find_database_problem(database)

    assert "Permission denied" in (problem or "")
    await database.close()


async def test_a_damaged_file_is_noticed(database: Database, folder: Path) -> None:
    assert await find_damage(database) is None
    file = folder / "service.db"
    damaged = at(f"sqlite:///{file}")
    await migrations.migrate(damaged)
    await damaged.close()
    damage(file)

    assert "is damaged" in (await find_damage(damaged) or "")

    await damaged.close()


class TestPostgres:
    @pytest.fixture
    def engine_name(self) -> str:
        return "postgresql"

    async def test_a_full_disk(self, database_url: str, database: Database, small_disk: Path) -> None:
        shutil.chown(small_disk, "pgserver", "pgserver")
        name = database.engine.url.database
        admin = await asyncpg.connect(database_url)
        await admin.execute(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
        await admin.execute(f"ALTER DATABASE {name} SET temp_tablespaces = small")
        assert await find_problem(database) is None

        fill(small_disk / "filler")

        with pytest.raises(DatabaseUnavailable, match="No space left on device"):
            await find_problem(database)
        await database.close()
        await admin.execute(f"ALTER DATABASE {name} RESET temp_tablespaces")
        await admin.execute("DROP TABLESPACE small")
        await admin.close()

    async def test_a_database_that_is_read_only(self, database_url: str, database: Database) -> None:
        name = database.engine.url.database
        await execute(database_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")

        assert "read-only" in (await find_problem(database) or "")

    async def test_a_user_who_may_not_insert(self, database_url: str) -> None:
        await execute(database_url, "CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader")
        database = at(database_url.replace("postgres@", "reader@"))

        assert "reader may not insert" in (await find_problem(database) or "")

        await database.close()
        await execute(database_url, "DROP OWNED BY reader; DROP ROLE reader")

    async def test_a_hot_standby(self) -> None:
        server = Postgres(fsync="off")
        database = at(await server.created("engines"))
        server.become_standby()

        assert "standby" in (await find_problem(database) or "")

        await database.close()
        server.remove()
