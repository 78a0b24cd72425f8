"""The JavaScript in README and docs/api.md, run as it stands."""

import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.processes import Process

ROOT = Path(__file__).parents[2]
PLACES = ("http://127.0.0.1:8000", "https://signup.your-domain.example")


def snippet(file: str, *, heading: str) -> str:
    section = (ROOT / file).read_text("utf-8").partition(f"\n## {heading}\n")[2]
    found = re.search("```js\n(.*?)```", section, re.DOTALL)
    assert found, f"{file} has no JavaScript below {heading}"
    return found[1]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    """The addresses of the service and of its inbox."""
    inbox = free_port()
    ports = {"INBOX_HTTP_PORT": inbox, "INBOX_SMTP_PORT": free_port()}
    process = await Process("up", folder=tmp_path, environment=ports).start()
    await process.ready(path="/readyz")
    yield process.url, f"http://127.0.0.1:{inbox}"
    await process.stop()


def run(script: str, service: tuple[str, str]) -> str:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node here")
    for place in PLACES:
        script = script.replace(place, service[0])
    script = script.replace("http://127.0.0.1:8025", service[1])
    command = [node, "--input-type=module", "--eval", script]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_readme_signs_up(service: tuple[str, str]) -> None:
    script = snippet("README.md", heading="Call it from your frontend")

    printed = run(
        script
        + """
        const { user } = await signUp("ada@example.com", "Ada");
        const { problem } = await signUp("ada@example.com", "Ada");
        console.log(user.email, problem.type);
        """,
        service,
    )

    assert printed == "ada@example.com /problems/address-taken\n"


def test_the_api_page_finds_the_mail(service: tuple[str, str]) -> None:
    printed = run(snippet("docs/api.md", heading="In your own tests"), service)

    assert printed == "201 Welcome to Our service\n"
