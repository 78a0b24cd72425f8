"""`--help`: at once, with examples that work; `--version`; and what the shell completes."""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperCommand, TyperGroup

from service import __version__
from service.cli.main import app
from tests.support.commands import run
from tests.support.forks import ROOT


def commands(group: object, *above: str) -> Iterator[tuple[str, TyperCommand]]:
    """Each with its full name."""
    assert isinstance(group, TyperGroup)
    for name, command in group.commands.items():
        if isinstance(command, TyperCommand):
            yield " ".join((*above, name)), command
        else:
            yield from commands(command, *above, name)


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_examples_that_it_takes(name: str) -> None:
    given = [
        line.strip().removeprefix("signup-service ")
        for line in (COMMANDS[name].epilog or "").splitlines()
        if line.startswith("  signup-service ")
    ]

    assert given
    for example in given:
        assert example.startswith(name)
        arguments = shlex.split(example.partition(" > ")[0].removeprefix(name))
        COMMANDS[name].make_context(name, arguments)  # complains of what it does not know


def test_help_shows_the_examples(tmp_path: Path) -> None:
    shown = run("outbox", "retry", "--help", folder=tmp_path).stdout

    assert "signup-service outbox retry --since 2h" in shown


# What the commands run with. Each of these costs every `--help` a tenth of a second or more.
HEAVY = {
    "aiohttp",
    "aiosmtplib",
    "alembic",
    "asyncpg",
    "fastapi",
    "jinja2",
    "pydantic_settings",
    "rich",
    "sqlalchemy",
    "starlette",
    "structlog",
    "uvicorn",
    "uvloop",
}
SHOW_EVERY_HELP = """
import contextlib, io, json, sys
from service.cli.main import app
with contextlib.redirect_stdout(io.StringIO()) as shown:
    for command in json.loads(sys.argv[1]):
        app([*command.split(), "--help"], standalone_mode=False)
print(json.dumps([shown.getvalue().count("Usage:"), sorted(sys.modules)]))
"""


def test_no_help_imports_what_only_running_needs() -> None:
    names = ["", *COMMANDS]

    shown = subprocess.run(
        [sys.executable, "-c", SHOW_EVERY_HELP, json.dumps(names)],
        env={"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
    )

    count, modules = json.loads(shown.stdout)
    assert count == len(names)
    assert HEAVY & set(modules) == set()


def test_the_version_is_the_packages(tmp_path: Path) -> None:
    assert run("--version", folder=tmp_path).stdout == f"signup-service {__version__}\n"


def test_the_shell_completes_commands() -> None:
    asked = {
        "_SIGNUP_SERVICE_COMPLETE": "complete_bash",
        "COMP_WORDS": "signup-service send",
        "COMP_CWORD": 1,
    }
    program = "import sys; sys.argv = ['signup-service']; from service.cli.main import main; main()"

    completed = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT)} | {name: str(value) for name, value in asked.items()},
        capture_output=True,
        check=False,
    )

    assert completed.stdout.split() == [b"send-test"]
