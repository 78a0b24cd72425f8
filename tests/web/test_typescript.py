"""A TypeScript client that is generated from the OpenAPI document, under `tsc --strict`."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.support import npm
from tests.support.ports import free_port
from tests.support.processes import Process

PACKAGE = Path(__file__).parent / "typescript"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the generator and the compiler."""
    return npm.install(PACKAGE, folder=tmp_path_factory.mktemp("npm"))


def run(folder: Path, *command: str) -> str:
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


async def test_it_signs_up_and_knows_every_error_by_its_type(package: Path, tmp_path: Path) -> None:
    service = await Process(
        "up",
        folder=tmp_path,
        environment={
            "SIGNUP_RATE_LIMIT": "4/day",
            "INBOX_HTTP_PORT": free_port(),
            "INBOX_SMTP_PORT": free_port(),
        },
    ).start()
    try:
        await service.ready(path="/readyz")
        run(package, "node_modules/.bin/openapi-typescript", f"{service.url}/openapi.json", "-o", "api.d.ts")
        run(package, "node_modules/.bin/tsc")
        printed = run(package, "node", "client.js", service.url, "ada@example.com")
    finally:
        await service.stop()

    created, state, trapped, taken, invalid, limited = json.loads(printed)
    assert created["state"] == "pending"
    assert state in ("pending", "sent")
    assert trapped["trapped"]
    assert taken == {"taken": "Address taken"}
    assert invalid == {"reasons": ["email_invalid"]}
    assert limited["retryAfter"] > 0
