"""The documents name what exists: commands, options, make targets, settings, routes, files and headings."""

import re
from pathlib import Path

import pytest
from starlette.routing import Route
from typer.testing import CliRunner

from service.app import create_app
from service.cli.main import app as commands
from service.settings import Settings

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"`signup-service ([a-z][^`]*)`|^\$? ?signup-service ([a-z].*)$", re.MULTILINE)
GROUPED = re.compile(r"`((?:outbox|audit|users) [a-z][^`]*)`")  # as in the tables
TARGET = re.compile(r"`(?:make|\$ make) ([a-z]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)

COMMANDS = sorted(
    {
        next(filter(None, match.groups())).strip()
        for path in DOCUMENTS
        for pattern in (COMMAND, GROUPED)
        for match in pattern.finditer(path.read_text("utf-8"))
    }
)


def without_code(path: Path) -> str:
    return CODE.sub("", path.read_text("utf-8"))


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes from headings."""
    headings = re.findall(r"^#+ (.+)$", without_code(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_and_option_that_is_named_exists(command: str) -> None:
    names = re.match(r"(?:(?:outbox|audit|users) [a-z-]+|[a-z-]+)", command)
    assert names

    shown = CliRunner(env={"COLUMNS": "200"}).invoke(commands, [*names[0].split(), "--help"])

    assert shown.exit_code == 0, shown.output
    assert [option for option in re.findall(r"--[a-z-]+", command) if option not in shown.output] == []


def test_each_make_target_that_is_named_exists() -> None:
    named = {target for path in DOCUMENTS for target in TARGET.findall(path.read_text("utf-8"))}

    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))

    assert named
    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_link_within_the_documents_leads_somewhere(document: Path) -> None:
    links = [a or b for a, b in LINK.findall(without_code(document))]

    broken = []
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_row_of_a_table_has_the_cells_of_its_heading(document: Path) -> None:
    tables = re.findall(r"(?:^\|.*\|$\n?)+", without_code(document), re.MULTILINE)

    for table in tables:
        cells = [len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()]
        assert len(set(cells)) == 1, table.splitlines()[0]


def test_each_document_can_be_reached_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")

    for document in DOCUMENTS:
        assert document.name == "README.md" or f"({document.relative_to(ROOT)}" in readme


def test_the_settings_page_names_every_setting_once() -> None:
    rows = re.findall(r"^\| (`[A-Z][^|]*) \|", (ROOT / "docs/settings.md").read_text("utf-8"), re.MULTILINE)

    named = [name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)]

    assert sorted(named) == sorted(name.upper() for name in Settings.model_fields)


def test_the_api_page_names_every_route(tmp_path: Path) -> None:
    app = create_app(Settings(_env_file=None, data_dir=tmp_path))
    routes = {route.path for route in app.routes if isinstance(route, Route)}

    page = (ROOT / "docs/api.md").read_text("utf-8")

    for path in routes - {"/docs/oauth2-redirect"}:
        assert re.sub(r"\{\w+\}", "{id}", path) in page


def test_the_readme_is_short_and_shows_every_folder() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")

    assert len(readme.splitlines()) <= 200
    for folder in (ROOT / "service").iterdir():
        if (folder / "__init__.py").exists():
            assert f" {folder.name}/ " in readme
