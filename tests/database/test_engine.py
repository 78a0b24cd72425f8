"""Database URLs in every usual spelling; a database that could lose signups is refused with the reason."""

import asyncio
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlsplit
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi

from service.database.engine import Database, DatabaseUnavailable, DataRejected
from service.database.models import User
from service.settings import InvalidSettings, Settings
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.proxy import Proxy

SYNCHRONOUS_FULL = 2  # as SQLite numbers it


def database_at(url: str, tmp_path: Path) -> Database:
    return Database(Settings(database_url=url, data_dir=tmp_path))


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgres://ada@db/engines", "postgresql+asyncpg"),
        ("postgresql://ada@db/engines?sslmode=require", "postgresql+asyncpg"),
        ("postgresql://ada@db/engines?sslmode=require&channel_binding=require", "postgresql+asyncpg"),
        ("postgresql://ada@/engines?host=/var/run/postgresql", "postgresql+asyncpg"),
        ("postgresql+asyncpg://ada@db/engines", "postgresql+asyncpg"),
        ("postgresql+psycopg://ada@db/engines", "postgresql+asyncpg"),
        ("postgresql://ada@%2Fvar%2Frun%2Fpostgresql/engines", "postgresql+asyncpg"),
        ("postgresql://ada@db/engines?sslmode=verify-full&sslrootcert=system", "postgresql+asyncpg"),
        ("postgresql://ada@db/engines?sslmode=disable&sslrootcert=/nowhere", "postgresql+asyncpg"),
        ("postgresql://ada@db/engines?target_session_attrs=read-write&pgbouncer=true", "postgresql+asyncpg"),
        ("sqlite:///engines.db", "sqlite+aiosqlite"),
        ("sqlite+aiosqlite:///engines.db", "sqlite+aiosqlite"),
        ("", "sqlite+aiosqlite"),
    ],
)
def test_any_usual_spelling_of_the_address_works(url: str, driver: str, tmp_path: Path) -> None:
    assert database_at(url, tmp_path).engine.url.drivername == driver


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "not a URL"),
        ("postgresql://ada@db:port/engines", "not a URL"),
        ("postgresql://ada@db/engines?sslrootcert=/nowhere", "sslrootcert"),
        ("mysql://ada@db/engines", "must begin with"),
        ("sqlite://", "names no file"),
        ("sqlite://data/x.db", "sqlite:///data/x.db"),
        ("postgresql://ada@one,two/engines", "several hosts"),
        ("postgresql://ada@one:5432,two:5432/engines", "several hosts"),
        ("postgresql://ada@/engines?host=one,two", "several hosts"),
        ("postgresql://ada@one/engines?port=5432,5433", "several hosts"),
        ("postgresql://ada@db/engines?sslmode=sure", "sslmode"),
        ("postgresql://ada@db/engines?colour=red", "colour"),
    ],
)
def test_any_other_is_refused_in_a_sentence(url: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=words):
        database_at(url, tmp_path)


def test_an_sqlite_that_is_too_old_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 37, 2))
    monkeypatch.setattr("sqlite3.sqlite_version", "3.37.2")

    with pytest.raises(InvalidSettings, match=r"SQLite 3\.37\.2, and 3\.38 or newer"):
        database_at("", tmp_path)


async def test_a_socket_is_found_in_the_folder_that_the_host_names(tmp_path: Path) -> None:
    database = database_at(f"postgresql://ada@{quote(str(tmp_path), safe='')}/engines", tmp_path)

    with pytest.raises(DatabaseUnavailable, match="No such file"):
        async with database.read_only():
            pass

    assert database.address == f"engines at {tmp_path}:5432"


async def test_the_words_of_a_pooler_are_passed_on(tmp_path: Path) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        fields = b"SFATAL\0CXX000\0MTenant or user not found\0\0"
        writer.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as pooler:
        port = pooler.sockets[0].getsockname()[1]
        database = database_at(f"postgresql://ada@127.0.0.1:{port}/engines?sslmode=disable", tmp_path)

        with pytest.raises(DatabaseUnavailable, match="Tenant or user not found"):
            async with database.read_only():
                pass


@pytest.mark.parametrize(
    "error",
    [
        AsyncAdapt_asyncpg_dbapi.Error("connection was closed"),  # type: ignore[no-untyped-call]  # theirs
        sqlite3.OperationalError("disk I/O error"),
    ],
)
async def test_an_error_that_sqlalchemy_did_not_wrap_is_an_outage_too(
    database: Database, error: Exception
) -> None:
    """PostgreSQL's came through when a connection was terminated while it was given back: the outcome of a
    mail was not recorded, and the mail sent again."""
    with pytest.raises(DatabaseUnavailable, match=str(error)):
        async with database.single_statement():
            raise error


async def test_a_refused_value_says_nothing_of_it(database: Database) -> None:
    now = datetime.now(UTC)
    user = {
        "id": UUID(int=1),
        "email": "ada@example.com",
        "canonical_email": "ada@example.com",
        "created_at": now,
    }

    async def insert() -> None:
        async with database.transaction() as connection:
            await connection.execute(database.insert(User), user)

    await insert()
    with pytest.raises(DataRejected) as caught:
        await insert()

    assert "ada@example.com" not in str(caught.value)


@pytest.mark.deadlines
async def test_a_server_that_never_answers_is_away_within_the_time_a_caller_has(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        database = database_at(f"postgresql://ada@127.0.0.1:{mute.getsockname()[1]}/engines", tmp_path)

        async with asyncio.timeout(15):  # s; the driver's own limit is 60
            with pytest.raises(DatabaseUnavailable):
                async with database.transaction():
                    pass


@pytest.fixture
async def proxy(postgres_url: str) -> AsyncIterator[Proxy]:
    proxy = await Proxy.started(urlsplit(postgres_url).port or 5432)
    yield proxy
    await proxy.stop()


@pytest.fixture
async def behind_proxy(postgres_url: str, proxy: Proxy, tmp_path: Path) -> Database:
    """A database with three open connections."""
    port = urlsplit(postgres_url).port or 5432
    database = database_at(postgres_url.replace(f":{port}/", f":{proxy.port}/"), tmp_path)

    async def hold() -> None:
        async with database.transaction():
            await asyncio.sleep(0.1)

    await asyncio.gather(hold(), hold(), hold())
    return database


async def test_one_silent_connection_is_enough_to_try_new_ones(
    behind_proxy: Database, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.database.engine.TRANSACTION_TIMEOUT", 0.5)
    proxy.swallow()
    with pytest.raises(DatabaseUnavailable):
        async with behind_proxy.transaction() as connection:
            await behind_proxy.now(connection)

    async with behind_proxy.transaction() as connection:
        await behind_proxy.now(connection)

    await behind_proxy.close()


async def test_silent_connections_are_closed_all_the_same(behind_proxy: Database, proxy: Proxy) -> None:
    proxy.swallow()

    async with asyncio.timeout(3):
        await behind_proxy.close()


@pytest.mark.deadlines
async def test_a_query_that_is_given_up_ends_on_the_server_too(
    behind_proxy: Database, postgres_url: str
) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with behind_proxy.read_only(timeout=0.3) as connection:
            await connection.exec_driver_sql("SELECT pg_sleep(3600)")

    admin = await asyncpg.connect(postgres_url)
    asleep = (
        "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(3600)' AND state = 'active'"
    )

    async def ended() -> bool:
        return not await admin.fetchval(asleep)

    await eventually(ended)
    await admin.close()
    await behind_proxy.close()


async def test_a_server_that_would_forget_confirmed_signups_is_refused(
    postgres_url: str, tmp_path: Path
) -> None:
    admin = await asyncpg.connect(postgres_url)
    await admin.execute("CREATE DATABASE forgetful")
    await admin.execute("ALTER DATABASE forgetful SET synchronous_commit = off")
    database = database_at(postgres_url.rpartition("/")[0] + "/forgetful", tmp_path)

    with pytest.raises(DatabaseUnavailable, match=r"synchronous_commit is off.*set it to on"):
        async with database.transaction():
            pass

    await database.close()
    await admin.execute("DROP DATABASE forgetful WITH (FORCE)")
    await admin.close()


@pytest.mark.parametrize("engine_name", ["sqlite"])
async def test_a_file_is_synced_at_every_commit(database: Database) -> None:
    async with database.transaction() as connection:
        assert (await connection.exec_driver_sql("PRAGMA synchronous")).scalar_one() == SYNCHRONOUS_FULL


async def test_a_new_file_that_another_process_is_writing_is_waited_for(tmp_path: Path) -> None:
    database = database_at(f"sqlite:///{tmp_path}/new.db", tmp_path)
    with closing(sqlite3.connect(tmp_path / "new.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE pets (name)")
        opening = asyncio.create_task(rows(database, "SELECT name FROM pets"))
        await asyncio.sleep(0.1)
        assert not opening.done()

        other.execute("COMMIT")

        assert await opening == []
    await database.close()


async def test_a_writer_that_holds_its_transaction_does_not_stop_readers(database: Database) -> None:
    async with database.transaction() as writer:
        await writer.exec_driver_sql("DELETE FROM users")

        async with database.read_only() as reader:  # if it waited, SQLite would refuse it after 5 s
            assert (await reader.exec_driver_sql("SELECT count(*) FROM users")).scalar_one() == 0


async def test_a_reader_waits_no_longer_than_a_caller_may(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with database.read_only(timeout=0.2):
            await asyncio.sleep(1)


async def test_two_processes_on_one_sqlite_file_wait_for_each_other(
    database: Database, settings: Settings
) -> None:
    other = Database(settings)

    async def write(into: Database) -> None:
        for _ in range(20):
            async with into.transaction() as connection:
                await connection.exec_driver_sql("UPDATE users SET name = NULL")

    await asyncio.gather(write(database), write(other), write(database), write(other))

    await other.close()
