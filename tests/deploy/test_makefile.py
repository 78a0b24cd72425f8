"""What `make` does, without doing it."""

import os
import re
import subprocess

import pytest

from tests.support.forks import ROOT

TARGETS = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


def make(*arguments: str) -> str:
    # Not as a part of the `make test` that may run this: it would say so, and pass on its options.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", *arguments],  # noqa: S607  # whichever make is on the path
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def test_running_installs_the_runtime_lock_alone() -> None:
    steps = make("--dry-run", "--always-make", "run")

    assert "-r requirements.lock" in steps
    assert "requirements-dev.lock" not in steps
    assert steps.rstrip().endswith(".venv/bin/signup-service up")


@pytest.mark.parametrize("target", ["test", "lint"])
def test_developing_installs_the_rest(target: str) -> None:
    assert "-r requirements-dev.lock" in make("--dry-run", "--always-make", target)


def test_help_lists_every_target() -> None:
    assert [line.split()[0] for line in make("help").splitlines()] == TARGETS


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_file_names_no_registry(lock: str) -> None:
    assert "://" not in (ROOT / lock).read_text("utf-8")
