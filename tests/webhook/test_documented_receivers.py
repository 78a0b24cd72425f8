"""The receivers of docs/events.md verify what the service sends, and do their work once."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from service.settings import Settings
from service.webhook.endpoint import Endpoint
from service.webhook.event import encode_ping
from tests.support import npm
from tests.support.eventually import eventually
from tests.support.forks import ROOT
from tests.support.ports import free_port
from tests.support.receiver import SECRET

PAGE = (ROOT / "docs/events.md").read_text("utf-8")


def code(language: str, *, port: int) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    assert "9000" in found[1]
    return found[1].replace("9000", str(port))


def python(folder: Path, port: int) -> list[str]:
    (folder / "receiver.py").write_text(code("python", port=port))
    return [sys.executable, "receiver.py"]


def node(folder: Path, port: int) -> list[str]:
    package = npm.install(Path(__file__).parent / "node", folder=folder)
    (package / "receiver.mjs").write_text(code("js", port=port))
    return ["node", str(package / "receiver.mjs")]


@pytest.fixture(params=[python, node])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Its port, and what it printed."""
    port, output = free_port(), tmp_path / "output"
    command = request.param(tmp_path, port)
    with output.open("w") as stdout:
        process = subprocess.Popen(
            command, cwd=tmp_path, env={"WEBHOOK_SECRET": SECRET, "PATH": "/usr/bin:/bin"}, stdout=stdout
        )
        yield port, output
        process.kill()
        process.wait()


async def test_a_receiver_verifies_and_does_its_work_once(receiver: tuple[int, Path]) -> None:
    port, output = receiver
    settings = Settings(webhook_url=f"http://127.0.0.1:{port}", webhook_secret=SECRET)
    forger = settings.model_copy(update={"webhook_secret": SecretStr("whsec_" + "QUFB" * 8)})

    async def answers() -> bool:
        try:
            return (await client.post("/", content=b"{}")).status_code == 401
        except httpx.TransportError:
            return False

    async with httpx.AsyncClient(base_url=settings.webhook_url) as client:
        await eventually(answers)
    endpoint, foreign = Endpoint(settings), Endpoint(forger)
    try:
        for webhook_id in ("first", "first", "second"):
            assert (await endpoint.post(webhook_id, encode_ping())).startswith("204")
        with pytest.raises(Exception, match="401"):
            await foreign.post("third", encode_ping())
    finally:
        await endpoint.close()
        await foreign.close()

    assert [line.split()[0] for line in output.read_text().splitlines()] == ["ping", "ping"]
