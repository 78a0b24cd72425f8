"""A copy of the database, taken while people sign up."""

import asyncio
import sqlite3
import stat
from pathlib import Path

import httpx
import pytest

from tests.support.commands import run
from tests.support.eventually import eventually
from tests.support.processes import Process


@pytest.fixture
def engine_name() -> str:
    return "sqlite"


def count(file: Path) -> int:
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        [[users]] = connection.execute("SELECT count(*) FROM users").fetchall()
        [[emails]] = connection.execute("SELECT count(*) FROM outbox").fetchall()
    connection.close()
    assert users == emails
    return int(users)


async def test_is_whole_under_traffic_and_for_its_owner_alone(database_url: str, tmp_path: Path) -> None:
    environment = {"DATABASE_URL": database_url, "DATA_DIR": tmp_path, "WORKER": "false"}
    process = Process("serve", folder=tmp_path / "api", environment=environment)
    await (await process.start()).ready()
    stored: list[int] = []

    async def sign_up(client: httpx.AsyncClient, who: int) -> None:
        for number in range(10_000):
            answer = await client.post("/signup", json={"email": f"user{number}@host{who}.example.com"})
            stored.append(answer.status_code)

    async with httpx.AsyncClient(base_url=process.url, timeout=30) as client:
        traffic = [asyncio.create_task(sign_up(client, who)) for who in range(4)]
        await eventually(lambda: len(stored) > 50, within=30)
        before = len(stored)

        copied = await asyncio.to_thread(
            run, "backup", "copy.db", folder=tmp_path, DATABASE_URL=database_url, DATA_DIR=tmp_path
        )

        for task in traffic:
            task.cancel()
        await asyncio.gather(*traffic, return_exceptions=True)
    await process.kill()
    assert (copied.returncode, copied.stderr) == (0, "")
    assert before <= count(tmp_path / "copy.db") <= len(stored) + len(traffic)
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    assert not (tmp_path / "copy.db.partial").exists()


def test_replaces_nothing(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("precious")

    refused = run("backup", "copy.db", folder=tmp_path, DATABASE_URL=database_url, DATA_DIR=tmp_path)

    assert refused.returncode == 1
    assert "exists already" in refused.stderr
    assert (tmp_path / "copy.db").read_text() == "precious"


def test_a_folder_that_does_not_exist_is_named(database_url: str, tmp_path: Path) -> None:
    refused = run("backup", "nowhere/copy.db", folder=tmp_path, DATABASE_URL=database_url, DATA_DIR=tmp_path)

    assert refused.returncode == 1
    assert "copied to nowhere/copy.db (No such file or directory): name a file in a folder" in refused.stderr
    assert "Traceback" not in refused.stderr


class TestPostgres:
    @pytest.fixture
    def engine_name(self) -> str:
        return "postgresql"

    def test_has_its_own_command(self, database_url: str, tmp_path: Path) -> None:
        refused = run("backup", "copy.db", folder=tmp_path, DATABASE_URL=database_url, DATA_DIR=tmp_path)

        assert refused.returncode == 1
        assert "pg_dump" in refused.stderr
