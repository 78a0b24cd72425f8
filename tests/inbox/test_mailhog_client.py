"""The inbox of `signup-service up`, read by the npm package with which many test suites read MailHog."""

import json
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import npm
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.processes import Process

PACKAGE = Path(__file__).parent / "mailhog"
ADA, GRACE = "ada@example.com", "grace@example.com"

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package installed."""
    return npm.install(PACKAGE, folder=tmp_path_factory.mktemp("npm"))


@pytest.fixture
async def call(package: Path, tmp_path: Path) -> AsyncIterator[Call]:
    """Calls the package's methods on an inbox with a mail to Ada, then one to Grace."""
    inbox = free_port()
    ports = {"INBOX_HTTP_PORT": inbox, "INBOX_SMTP_PORT": free_port()}
    process = await Process("up", folder=tmp_path, environment=ports).start()
    await process.ready(path="/readyz")

    def call(method: str, *parameters: object) -> Any:
        command = ["node", "call.js", str(inbox), method, json.dumps(parameters)]
        ended = subprocess.run(command, cwd=package, capture_output=True, text=True, check=True, timeout=20)
        return json.loads(ended.stdout)

    async with httpx.AsyncClient() as client:
        for number, address in enumerate((ADA, GRACE), start=1):
            await client.post(f"{process.url}/signup", json={"email": address, "name": "Ada"})
            await eventually(lambda: call("messages")["result"]["total"] == number)  # noqa: B023  # this one
    yield call
    await process.stop()


async def test_mails_are_read_and_never_sent_on(call: Call) -> None:
    everything = call("messages")["result"]
    assert [mail["to"] for mail in everything["items"]] == [GRACE, ADA]
    assert call("messages", 1, 1)["result"]["items"] == everything["items"][1:]

    [mail] = call("search", ADA, "to")["result"]["items"]
    assert call("latestTo", ADA)["result"] == mail
    assert call("latestFrom", "welcome@example.com")["result"]["to"] == GRACE
    assert call("latestContaining", "Hello Ada")["result"]["to"] == GRACE
    assert call("latestTo", "nobody@example.com")["result"] == 0

    assert mail["subject"] == "Welcome to Our service"
    assert mail["from"] == "Welcome <welcome@example.com>"
    assert mail["text"].startswith("Hello Ada,")
    assert mail["html"].startswith("<!doctype html>")
    assert mail["delivered"] is not None

    released = call("releaseMessage", mail["id"], {"host": "localhost", "port": "25", "email": GRACE})
    assert "No mail leaves here." in released["error"]


async def test_mails_are_deleted(call: Call) -> None:
    mail = call("latestTo", ADA)["result"]

    assert call("deleteMessage", mail["id"])["result"] == 200
    assert [left["to"] for left in call("messages")["result"]["items"]] == [GRACE]
    assert call("deleteMessage", mail["id"])["result"] is None
    assert call("deleteAll")["result"] == 200
    assert call("messages")["result"] == {"total": 0, "items": []}
