"""The commands about people: shown, handed out so that nothing runs, and forgotten."""

import csv
import io
import json
import os
import pty
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess
from typing import Protocol

import pytest

from service.cli.users import escape_formulas
from service.database.engine import Database
from service.database.models import OUTBOX, USERS
from service.settings import Settings
from tests.support.app import running
from tests.support.commands import run
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.forks import Descriptor, fork
from tests.support.relay import ScriptedRelay
from tests.support.users import numbered, store


class Users(Protocol):
    def __call__(self, *command: str, typed: str = "", **environment: object) -> CompletedProcess[str]: ...


@pytest.fixture
def users(database_url: str, tmp_path: Path) -> Users:
    """Runs `service users COMMAND` on the test's database."""

    def users(*command: str, typed: str = "", **environment: object) -> CompletedProcess[str]:
        environment = {"DATABASE_URL": database_url, **environment}
        return run("users", *command, folder=tmp_path, typed=typed, **environment)

    return users


# Python reads the locale when it starts, which takes a second: once for each is enough.
LOCALE = {"sqlite": {"LC_ALL": "C"}, "postgresql": {}}


async def test_users_are_listed_the_newest_first(users: Users, database: Database, engine_name: str) -> None:
    [ada, grace] = await store(database, ("ada@example.com", "Ada"), ("grace@münchen.de", None))

    table = users("list", **LOCALE[engine_name])
    lines = users("list", "--json", "--limit", "1")

    assert table.stdout.index("grace@münchen.de") < table.stdout.index("ada@example.com")
    assert str(ada) in table.stdout
    assert json.loads(lines.stdout) == {
        "id": str(grace),
        "email": "grace@münchen.de",
        "name": None,
        "created_at": "2026-01-01T00:00:01+00:00",
    }


PEOPLE = [
    ("ada@example.com", "Ada"),
    ("=a@example.com", '=cmd|" /C calc"!A0'),
    ("+b@example.com", "+1"),
    ("-c@example.com", "-2"),
    ("d@example.com", "@SUM(1;1)"),
    ("e@example.com", "\uff1d1+1"),
    ("f@example.com", '"O", \'Neil'),
    ("g@münchen.de", None),
]


async def test_the_export_for_a_spreadsheet_has_no_formula(
    users: Users, database: Database, engine_name: str
) -> None:
    await store(database, *PEOPLE)

    exported = users("export", **LOCALE[engine_name]).stdout

    header, *found = csv.reader(io.StringIO(exported, newline=""), strict=True)
    assert header == ["id", "email", "name", "created_at"]
    assert [(email, name) for _, email, name, _ in found] == [
        ("ada@example.com", "Ada"),
        ("'=a@example.com", '\'=cmd|" /C calc"!A0'),
        ("'+b@example.com", "'+1"),
        ("'-c@example.com", "'-2"),
        ("d@example.com", "'@SUM(1;1)"),
        ("e@example.com", "'\uff1d1+1"),
        ("f@example.com", '"O", \'Neil'),
        ("g@münchen.de", ""),
    ]


@pytest.mark.parametrize("separator", ";\t|, :")
def test_no_cell_begins_with_a_formula_whatever_the_separator(separator: str) -> None:
    for text in (f"Ada{separator}=1+1{separator}", f'Ada{separator}"=1+1"{separator}'):
        line = io.StringIO()
        csv.writer(line, quoting=csv.QUOTE_ALL).writerow([escape_formulas(text), "next"])

        cells = next(csv.reader([line.getvalue()], delimiter=separator))
        assert any("1+1" in cell for cell in cells)
        assert not any(cell.lstrip('" ').startswith("=") for cell in cells)


@pytest.mark.parametrize("first", "=+-@\t\r\n＝＋－＠")
def test_whatever_a_spreadsheet_may_take_for_a_formula_is_text(first: str) -> None:
    assert escape_formulas(f"{first}1+1") == f"'{first}1+1"


@pytest.mark.parametrize(
    "text", ["", "Ada", "O'Neil", "1+1", "a=b", "Ada - Grace", "Jean-Luc", "ada+tag@example.com"]
)
def test_what_is_no_formula_stays_as_it_is(text: str) -> None:
    assert escape_formulas(text) == text


async def test_a_user_is_found_by_any_spelling_of_the_address(users: Users, database: Database) -> None:
    await store(database, ("Ada@example.com", "Ada"), ("grace@example.com", None))

    found, missing = (
        users("list", "--address", " aDA@EXAMPLE.com"),
        users("list", "--address", "joan@example.com"),
    )

    assert [line.split("\t")[2] for line in found.stdout.splitlines()] == ["email", "Ada@example.com"]
    assert (missing.returncode, missing.stdout, missing.stderr) == (1, "", "Nothing was found.\n")


async def test_the_export_for_programs_has_everything_that_is_kept_of_a_person(
    users: Users, settings: Settings, database: Database, relay: ScriptedRelay
) -> None:
    async with running(settings) as live:
        headers = {"Accept-Language": "de", "Idempotency-Key": "key-1"}
        signup = {"email": "Ada+tag@Example.com", "name": "Ada"}
        await live.client.post("/signup", json=signup, headers=headers)
        await eventually(lambda: relay.accepted)
    await store(database, *PEOPLE)

    ada, *others = [json.loads(line) for line in users("export", "--json").stdout.splitlines()]

    assert ada.keys() - {"emails", "events"} == set(USERS.c.keys())
    assert (ada["email"], ada["canonical_email"]) == ("Ada+tag@Example.com", "ada+tag@example.com")
    assert (ada["locale"], ada["idempotency_key"]) == ("de", "key-1")
    [email] = ada["emails"]
    assert email.keys() == set(OUTBOX.c.keys())
    assert (email["recipient"], email["status"], email["last_reply"]) == (
        "Ada+tag@example.com",
        "sent",
        "250 2.0.0 queued",
    )
    assert [(user["email"], user["name"], user["emails"]) for user in others] == [
        (email, name, []) for email, name in PEOPLE
    ]


async def test_a_long_export_shows_its_progress_to_a_terminal_alone(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    await store(database, *numbered(3))
    terminal, stderr = pty.openpty()
    exported = tmp_path / "exported.csv"

    process = fork(
        ("users", "export"),
        folder=tmp_path,
        environment={"DATABASE_URL": database_url, "TERM": "xterm"},
        stdout=exported,
        stderr=Descriptor(stderr),
    )
    process.join(60)

    assert process.exitcode == 0
    assert "Exporting" in os.read(terminal, 100_000).decode()
    assert len(exported.read_text("utf-8").splitlines()) == 1 + 3
    for end in (terminal, stderr):
        os.close(end)


@pytest.mark.parametrize(("argument", "typed"), [("ADA@example.com", ""), ("-", "Ada@Example.com\n")])
async def test_a_user_is_erased_and_the_audit_still_verifies(
    users: Users,
    settings: Settings,
    database: Database,
    relay: ScriptedRelay,
    tmp_path: Path,
    argument: str,
    typed: str,
) -> None:
    async with running(settings) as live:
        signup = await live.client.post("/signup", json={"email": "ada@example.com", "name": "Ada"})
        await eventually(lambda: relay.accepted)
    user_id = signup.json()["id"]

    erased, again = (users("erase", argument, typed=typed) for _ in range(2))

    assert erased.returncode == 0
    assert erased.stdout == (
        f"Erased user {user_id} and their emails. An email already being sent may still arrive. "
        "Audit entries stay; they contain only the user's id.\n"
    )
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "Nobody has signed up with this address.\n"
    assert await rows(database, "SELECT * FROM users") == await rows(database, "SELECT * FROM outbox") == []
    assert [
        str(row["user_id"]).replace("-", "") for row in await rows(database, "SELECT * FROM audit_log")
    ] == [user_id.replace("-", "")]
    verified = run("audit", "verify", folder=tmp_path, DATABASE_URL=settings.database_url.get_secret_value())
    assert verified.returncode == 0
    assert "entries: 1, instances: 1, faults: 0" in verified.stdout


async def test_who_is_erased_while_the_mail_is_on_its_way_stays_erased(
    users: Users, settings: Settings, database: Database, relay: ScriptedRelay
) -> None:
    relay.delays["dot"] = 1.0
    async with running(settings) as live:
        signup = await live.client.post("/signup", json={"email": "ada@example.com"})
        await eventually(lambda: relay.stages["dot"])

        assert users("erase", "ada@example.com").returncode == 0

        await eventually(lambda: relay.accepted)
        assert (await live.client.get(signup.headers["Location"])).status_code == 404
    assert await rows(database, "SELECT * FROM outbox") == []


class TestConfirmation:
    """CONFIRMATION=link: who has confirmed the address, who has not, and who was never asked."""

    @pytest.fixture
    async def people(self, database: Database) -> None:
        ids = await store(database, *((f"{name}@example.com", None) for name in ("ada", "grace", "joan")))
        moment = datetime(2026, 1, 2, tzinfo=UTC)
        asked: dict[str, object] = {"confirmation_asked_at": moment}
        async with database.transaction() as connection:
            for user_id, changes in zip(ids, (asked, {**asked, "confirmed_at": moment}), strict=False):
                await connection.execute(USERS.update().where(USERS.c.id == user_id).values(**changes))

    async def test_is_listed(self, users: Users, people: None) -> None:
        listed = users("list", CONFIRMATION="link").stdout.splitlines()
        lines = users("list", "--json", CONFIRMATION="link").stdout.splitlines()

        assert listed[0].split("\t") == ["id", "created_at UTC", "email", "confirmed", "name"]
        assert [line.split("\t")[2:4] for line in listed[1:]] == [
            ["joan@example.com", ""],
            ["grace@example.com", "yes"],
            ["ada@example.com", "no"],
        ]
        assert [json.loads(line)["confirmed_at"] for line in lines] == [
            None,
            "2026-01-02T00:00:00+00:00",
            None,
        ]

    async def test_is_exported(self, users: Users, people: None) -> None:
        header, *found = csv.reader(io.StringIO(users("export", CONFIRMATION="link").stdout))

        assert header[-2:] == ["confirmation_asked_at", "confirmed_at"]
        asked = "2026-01-02 00:00:00+00:00"
        assert [row[-2:] for row in found] == [[asked, ""], [asked, asked], ["", ""]]

    async def test_is_said_of_who_is_erased(self, users: Users, people: None) -> None:
        said = [users("erase", f"{name}@example.com").stdout for name in ("ada", "grace", "joan")]

        assert ["The address had not been confirmed." in each for each in said] == [True, False, False]
