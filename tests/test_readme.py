"""What the documents tell people to type is there to be typed."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.main import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"`signup-service ([a-z][^`]*)`|^\$? ?signup-service ([a-z].*)$", re.MULTILINE)
TARGET = re.compile(r"`(?:make|\$ make) ([a-z]+)`")

COMMANDS = sorted(
    {" ".join(match).strip() for path in DOCUMENTS for match in COMMAND.findall(path.read_text())}
)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_and_option_that_is_named_exists(command: str) -> None:
    names = re.match(r"[a-z-]+(?: (?:list|retry|verify|export|erase))?", command)
    assert names

    shown = CliRunner().invoke(app, [*names[0].split(), "--help"])

    assert shown.exit_code == 0, shown.output
    assert [option for option in re.findall(r"--[a-z]+", command) if option not in shown.output] == []


def test_each_make_target_that_is_named_exists() -> None:
    named = {target for path in DOCUMENTS for target in TARGET.findall(path.read_text())}

    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert named
    assert named <= targets
