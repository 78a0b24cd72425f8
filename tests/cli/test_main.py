"""The commands: what they print, and how they fail - in a sentence, with the fix."""

import re
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from service.cli import all_in_one
from service.cli.common import CommandFailed
from service.database.engine import Database
from service.inbox.smtp_server import CAUGHT
from service.outbox.repository import Outbox
from service.outbox.row import Released, Sent
from tests.support.commands import run
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.outbox import enqueue, enqueue_claimed
from tests.support.ports import free_port
from tests.support.processes import Process


@pytest.fixture
async def everything(tmp_path: Path) -> AsyncIterator[Process]:
    """`service up`, on ports of its own."""
    ports = {"INBOX_SMTP_PORT": free_port(), "INBOX_HTTP_PORT": free_port()}
    process = Process("up", folder=tmp_path, environment=ports)
    await process.start()
    await process.ready(path="/readyz")
    yield process
    await process.stop()


async def test_up_brings_all_that_a_signup_needs(everything: Process) -> None:
    await eventually(lambda: "-d '" in everything.log)
    inbox = re.search(r"Inbox\s+(http://\S+)", everything.log)
    curl = re.search(r"curl -i (\S+) .* -d '(.+)'", everything.log, re.DOTALL)
    preview = re.search(r"Preview\s+(http://\S+)", everything.log)
    assert all(len(line) <= 80 for line in everything.log.splitlines() if not line.startswith("{"))
    assert inbox
    assert curl
    assert preview

    async with httpx.AsyncClient() as client:
        answer = await client.post(curl[1], content=curl[2], headers={"Content-Type": "application/json"})
        assert answer.status_code == 201
        assert (await client.get(preview[1])).status_code == 200
        under_another_name = await client.get(preview[1], headers={"Host": "evil.example"})
        assert under_another_name.status_code == 404

        async def arrived() -> bool:
            found = (await client.get(f"{inbox[1]}api/v2/messages")).json()
            return bool(found["total"] == 1)

        await eventually(arrived)


async def test_up_ends_at_once_and_cleanly(everything: Process) -> None:
    everything.signal(signal.SIGINT)

    assert await everything.ended(within=15) == 0
    assert "Traceback" not in everything.log


@pytest.mark.parametrize("setting", ["PORT", "INBOX_SMTP_PORT", "INBOX_HTTP_PORT"])
def test_a_port_in_use_is_one_sentence_with_the_setting(tmp_path: Path, setting: str) -> None:
    ports = {name: free_port() for name in ("PORT", "INBOX_SMTP_PORT", "INBOX_HTTP_PORT")}
    with socket.create_server(("127.0.0.1", ports[setting])):
        ended = run("up", folder=tmp_path, **ports)

    assert ended.returncode == 1
    assert f"Address already in use): stop what uses it, or set {setting}." in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


ELSEWHERE, HERE = "250 2.0.0 queued", f"{CAUGHT} 1"


@pytest.mark.parametrize(
    ("words", "waits", "refuses_on"),
    [
        (None, True, set()),
        (HERE, True, set()),
        (ELSEWHERE, False, {"postgresql"}),  # where others may be at work
        (ELSEWHERE, True, {"postgresql", "sqlite"}),
    ],
)
async def test_up_leaves_alone_what_another_relay_is_for(
    outbox: Outbox, database: Database, engine_name: str, words: str | None, waits: bool, refuses_on: set[str]
) -> None:
    if words:
        email = await enqueue_claimed(database)
        await outbox.record(email, Sent(words))
    if waits:
        await enqueue(database)

    refusal = None
    try:
        await all_in_one.refuse_foreign_database(database)
    except CommandFailed as exc:
        refusal = str(exc)

    assert (refusal is not None) == (engine_name in refuses_on)
    assert refusal is None or "take --relay" in refusal


async def test_up_says_so_and_touches_nothing(
    outbox: Outbox, database: Database, database_url: str, tmp_path: Path
) -> None:
    for outcome in (Sent(ELSEWHERE), Released()):
        email = await enqueue_claimed(database)
        await outbox.record(email, outcome)
    before = await rows(database, "SELECT * FROM outbox")
    ports = {name: free_port() for name in ("PORT", "INBOX_SMTP_PORT", "INBOX_HTTP_PORT")}

    ended = run("up", folder=tmp_path, DATABASE_URL=database_url, **ports)

    assert ended.returncode == 1
    assert "take --relay, or another DATABASE_URL or DATA_DIR." in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert await rows(database, "SELECT * FROM outbox") == before


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"SMTP_PORT": "many"}, "SMTP_PORT"),
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL must begin with"),
        (
            {"DATABASE_URL": "postgresql://ada@127.0.0.1:9/x"},
            "The database x at 127.0.0.1:9 cannot be used: Connection refused.",
        ),
        ({"SMTP_HOST": "smtp.real.example"}, "MAIL_FROM still is the example"),
    ],
)
def test_a_wrong_setting_is_a_sentence(tmp_path: Path, environment: dict[str, str], words: str) -> None:
    ended = run("check", folder=tmp_path, **environment)

    assert ended.returncode == 1
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_several_processes_that_cannot_start_are_not_started_for_ever(tmp_path: Path) -> None:
    ended = run("serve", "--workers", "2", folder=tmp_path, PORT=free_port(), DATABASE_URL="mysql://x")

    assert ended.returncode != 0
    assert "DATABASE_URL must begin with" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")

    ended = run("serve", folder=tmp_path, PORT=free_port())

    assert ended.returncode == 1
    assert "DATA_DIR" in ended.stderr
    assert "Traceback" not in ended.stderr
