"""The commands on the outbox: found by state, address and a beginning of the id; retried and dropped."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from service.database.engine import Database
from service.outbox.repository import Outbox
from service.outbox.row import Email, Failed, Sent
from tests.support.commands import run
from tests.support.database import rows
from tests.support.outbox import enqueue, enqueue_claimed
from tests.support.terminal import run_on_terminal

Command = Callable[..., CompletedProcess[str]]
HOSTILE = "550 \x1b[2Jno such user"


@pytest.fixture
def outbox_command(database_url: str, tmp_path: Path) -> Command:
    """Runs `signup-service outbox …` on the test's database."""
    return lambda *command: run("outbox", *command, folder=tmp_path, DATABASE_URL=database_url)


async def fail(outbox: Outbox, database: Database, *, name: str = "ada", words: str = HOSTILE) -> Email:
    email = await enqueue_claimed(database, name=name)
    await outbox.record(email, Failed(words))
    return email


async def test_emails_are_listed_whole_and_harmless(
    outbox_command: Command, outbox: Outbox, database: Database
) -> None:
    failed = await fail(outbox, database)
    sent = await enqueue_claimed(database, name="grace")
    await outbox.record(sent, Sent("250 ok"))

    everything, only_failed = outbox_command("list"), outbox_command("list", "--status", "failed", "--json")

    heading, *lines = [line.split("\t") for line in everything.stdout.splitlines()]
    assert heading == ["id", "status", "at UTC", "recipient", "last_reply"]
    assert [[*line[:2], *line[3:]] for line in lines] == [
        [str(sent.id), "sent", "grace@example.com", "250 ok"],
        [str(failed.id), "failed", "ada@example.com", r"550 \x1b[2Jno such user"],
    ]
    assert json.loads(only_failed.stdout)["last_reply"] == HOSTILE


async def test_only_the_kind_that_is_asked_for_is_listed(outbox_command: Command, database: Database) -> None:
    await enqueue(database)
    await enqueue(database, name="grace")
    async with database.transaction() as connection:
        await connection.exec_driver_sql(
            "UPDATE outbox SET channel = 'webhook', kind = 'user.created', recipient = '' WHERE name = 'Ada'"
        )

    event, email, all_pending = (
        outbox_command("list", *options)
        for options in (["--kind", "user.created"], ["--kind", "welcome"], ["--status", "pending"])
    )

    assert [line.split("\t")[3] for line in event.stdout.splitlines()] == ["recipient", "(user.created)"]
    assert [line.split("\t")[3] for line in email.stdout.splitlines()] == ["recipient", "grace@example.com"]
    assert [line.split("\t")[2] for line in all_pending.stdout.splitlines()] == [
        "recipient",
        "grace@example.com",
        "(user.created)",
    ]


async def test_on_a_terminal_of_80_columns_each_email_is_one_line_with_its_id(
    outbox: Outbox, database: Database, database_url: str, tmp_path: Path
) -> None:
    failed = await fail(outbox, database, words="550 no such user " * 20)

    shown = run_on_terminal(
        "outbox", "list", "--status", "failed", folder=tmp_path, environment={"DATABASE_URL": database_url}
    )

    heading, line = shown.lines
    assert len(heading) <= 80
    assert len(line) == 80
    assert line.startswith(f"{failed.id}  ")
    assert line.endswith("  ada@example.com  550 no such…")


async def test_a_failed_email_is_retried_by_the_beginning_of_its_id(
    outbox_command: Command, outbox: Outbox, database: Database
) -> None:
    email = await fail(outbox, database)
    await fail(outbox, database, name="grace")
    # Ids begin with their time, so two of the same second have the same beginning.
    whole = str(email.id)

    ambiguous, unknown = outbox_command("retry", whole[:6]), outbox_command("retry", "ffff")
    retried, again = (outbox_command("retry", whole.replace("-", "")[:30].upper()) for _ in range(2))

    assert (ambiguous.returncode, unknown.returncode) == (1, 1)
    assert (
        ambiguous.stderr
        == f"More than one email or event has an id that begins with {whole[:6]}: give more of it.\n"
    )
    assert unknown.stderr == "No email or event has an id that begins with ffff.\n"
    assert (retried.returncode, retried.stdout) == (0, "1 email is due again.\n")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.startswith("Nothing to retry")
    states = {row["recipient"]: row["status"] for row in await rows(database, "SELECT * FROM outbox")}
    assert states == {"ada@example.com": "pending", "grace@example.com": "failed"}


async def test_retried_emails_and_events_are_counted_apart(
    outbox_command: Command, outbox: Outbox, database: Database
) -> None:
    for name in ("ada", "grace", "linus"):
        await fail(outbox, database, name=name)
    async with database.transaction() as connection:
        await connection.exec_driver_sql(
            "UPDATE outbox SET channel = 'webhook', kind = 'user.created' WHERE recipient LIKE 'ada%%'"
        )

    assert outbox_command("retry", "--all").stdout == "2 emails and 1 event are due again.\n"


async def test_what_waits_for_a_domain_is_dropped(outbox_command: Command, database: Database) -> None:
    for domain in ("example.com", "example.org", "example.org"):
        await enqueue(database, domain=domain)

    dropped, again = (outbox_command("drop", "--domain", "Example.ORG") for _ in range(2))

    assert dropped.stdout == "2 emails are dropped. An email already being sent may still arrive.\n"
    assert (again.returncode, again.stderr) == (1, "Nothing to drop: no such email or event waits.\n")
    states = [row["status"] for row in await rows(database, "SELECT * FROM outbox ORDER BY recipient")]
    assert states == ["pending", "failed", "failed"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["retry"],
        ["retry", "--all", "--since", "1h"],
        ["retry", "--since", "yesterday"],
        ["drop"],
        ["drop", "0", "--domain", "b.org"],
    ],
)
def test_what_says_nothing_in_particular_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    assert run("outbox", *arguments, folder=tmp_path).returncode == 2
