"""An audit that cannot find anything is no audit."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest
from typer.testing import CliRunner, Result

from tests.support.forks import ROOT
from tests.support.ports import free_port
from tools import vulnerabilities
from tools.__main__ import app
from tools.lock_file import Pin, pins

LOCKED = """\
jinja2==3.1.6 \\
    --hash=sha256:{a} \\
    --hash=sha256:{b}
uvloop==0.23.0 ; sys_platform != 'win32' \\
    --hash=sha256:{c}
""".format(a="a" * 64, b="b" * 64, c="c" * 64)

Audit = Callable[..., Result]
Answers = dict[object, dict[str, list[str]]]


class Advisories(BaseHTTPRequestHandler):
    """An advisory service with the API of OSV, which pip-audit uses."""

    known: ClassVar[dict[tuple[str, str], str]] = {}

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        vulnerability = self.known.get((asked["package"]["name"], asked["version"]))
        answer = {"vulns": [{"id": vulnerability, "affected": []}]} if vulnerability else {}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def advisories(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Advisories, "known", {("jinja2", "2.11.2"): "CVE-2020-28493"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), Advisories)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def answers() -> Answers:
    return {}


@pytest.fixture
def audit(advisories: str, answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Audit:
    """The command, in this process. pip-audit, which takes a second, is asked each question once."""
    ask = vulnerabilities._ask

    def ask_once(asked: Sequence[Pin]) -> dict[str, list[str]]:
        question = (*asked, *Advisories.known.items(), os.environ["PIP_AUDIT_OSV_URL"] == advisories)
        if question not in answers:
            answers[question] = ask(asked)
        return answers[question]

    def audit(*options: str, locked: str = LOCKED, at: str = advisories) -> Result:
        lock = tmp_path / "requirements.lock"
        lock.write_text(locked)
        environment = {
            "HOME": str(tmp_path),  # where pip-audit has its cache
            "PIP_AUDIT_VULNERABILITY_SERVICE": "osv",
            "PIP_AUDIT_OSV_URL": at,
        }
        return CliRunner().invoke(app, ["audit", str(lock), *options], env=environment)

    monkeypatch.setattr(vulnerabilities, "_ask", ask_once)
    return audit


def test_what_is_not_known_to_be_vulnerable_passes(advisories: str, tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_text(LOCKED)

    ended = subprocess.run(
        [sys.executable, "-m", "tools", "audit"],
        cwd=tmp_path,
        env={
            "PYTHONPATH": str(ROOT),
            "HOME": str(tmp_path),
            "PIP_AUDIT_VULNERABILITY_SERVICE": "osv",
            "PIP_AUDIT_OSV_URL": advisories,
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (0, "2 packages audited, none with a known vulnerability.\n")


@pytest.mark.parametrize("options", [[], ["--unless-unreachable"]])
def test_a_vulnerable_package_is_named_and_fails(
    audit: Audit, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setitem(Advisories.known, ("uvloop", "0.23.0"), "CVE-2026-0001")

    ended = audit(*options)

    assert (ended.exit_code, ended.stderr) == (1, "uvloop 0.23.0 is vulnerable: CVE-2026-0001.\n")


@pytest.mark.parametrize("options", [[], ["--unless-unreachable"]])
def test_an_audit_of_nothing_fails(audit: Audit, options: list[str]) -> None:
    ended = audit(*options, locked="# nothing\n")

    assert (ended.exit_code, ended.stderr) == (1, "The lock file pins nothing, so nothing was audited.\n")


@pytest.mark.parametrize("options", [[], ["--unless-unreachable"]])
def test_a_package_that_was_not_audited_is_named_and_fails(audit: Audit, options: list[str]) -> None:
    ended = audit(*options, locked=LOCKED + "jinja2==what?\n")

    assert ended.exit_code == 1
    assert "not audited" in ended.stderr


def test_a_service_that_knows_no_vulnerability_is_none(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Advisories, "known", {})

    ended = audit()

    assert ended.exit_code == 1
    assert "NOTHING WAS AUDITED" in ended.stderr
    assert "does not know that jinja2 2.11.2 is vulnerable" in ended.stderr


@pytest.mark.parametrize(("options", "status"), [([], 1), (["--unless-unreachable"], 0)])
def test_where_nobody_can_be_asked_that_is_said(audit: Audit, options: list[str], status: int) -> None:
    ended = audit(*options, at=f"http://127.0.0.1:{free_port()}/")

    assert ended.exit_code == status
    assert ended.stderr.startswith("NOTHING WAS AUDITED: the advisory service cannot be used from here")
    assert len(ended.stderr.splitlines()) == 1


def test_every_pin_of_a_lock_file_is_read_with_its_hashes(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(LOCKED)

    assert pins(tmp_path / "lock") == [
        Pin("jinja2", "3.1.6", frozenset({"a" * 64, "b" * 64})),
        Pin("uvloop", "0.23.0", frozenset({"c" * 64})),
    ]


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_all_that_is_locked_has_hashes_and_no_address_of_an_index(lock: str) -> None:
    text = (ROOT / lock).read_text("utf-8")

    assert len(pins(ROOT / lock)) == text.count("==") - text.count(" == ") > 40
    assert all(pin.hashes for pin in pins(ROOT / lock))
    assert "://" not in text
