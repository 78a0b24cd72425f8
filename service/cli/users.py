"""The commands on users: list, export, erase."""

import csv
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import AsJson, Limit, examples, progress, run_with_database
from service.cli.output import Row, complain, say, show, to_json_line

if TYPE_CHECKING:
    from service.database.engine import Database
    from service.settings import Settings

COLUMNS = ("id", "created_at", "email", "name")
COLUMNS_IF_CONFIRMED = ("id", "created_at", "email", "confirmed", "name")
CSV_COLUMNS = ("id", "email", "name", "created_at")
CONFIRMATION = ("confirmation_asked_at", "confirmed_at")  # shown where addresses are confirmed
# What a spreadsheet may take for the start of a formula (OWASP, "CSV Injection"), full-width forms included,
# where a cell may begin: whoever opens the file may choose another separator than the comma.
FORMULA = re.compile(r"^[\t\r\n]|(?:^|(?<=[\s;,:|\"]))[=+\-@\uff1d\uff0b\uff0d\uff20](?!\s)")

users = typer.Typer(help="Who signed up.", no_args_is_help=True)


@users.command("list", epilog=examples("users list", "users list --address ada@example.com --json"))
def list_users(
    address: Annotated[str | None, typer.Option(help="The user with this address, in any spelling.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Show users, the newest first."""
    from service.signup.users import Users

    async def find(database: "Database", settings: "Settings") -> None:
        found = await Users(database).find_newest(limit, address=address)
        if settings.asks_to_confirm:
            rows = found if as_json else [{**user, "confirmed": _describe(user)} for user in found]
            show(rows, columns=COLUMNS_IF_CONFIRMED, as_json=as_json)
        else:
            show(
                [{name: user[name] for name in CSV_COLUMNS} for user in found],
                columns=COLUMNS,
                as_json=as_json,
            )

    run_with_database(find)


@users.command(epilog=examples("users export > users.csv", "users export --json > users.jsonl"))
def export(
    as_json: Annotated[
        bool,
        typer.Option("--json", help="One JSON object per line, with everything that is kept of the user."),
    ] = False,
) -> None:
    """Write all users to standard output: CSV for a spreadsheet, or JSON lines with everything."""
    from service.signup.users import Users

    # In UTF-8 whatever the locale, and without a change to line ends.
    sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]  # it is a file here

    async def write_all(database: "Database", settings: "Settings") -> None:
        columns = (*CSV_COLUMNS, *CONFIRMATION) if settings.asks_to_confirm else CSV_COLUMNS
        write = _json_lines() if as_json else _csv(columns)
        found = Users(database)
        with progress(hidden=sys.stdout.isatty()) as bar:  # which then shows the rows themselves
            task = bar.add_task("Exporting", total=await found.count())
            async for page in found.pages():
                for user in page:
                    write(user)
                bar.advance(task, len(page))

    run_with_database(write_all)


@users.command(epilog=examples("users erase ada@example.com", "users erase -"))
def erase(
    address: Annotated[
        str,
        typer.Argument(
            help="In any spelling. With - it is read from standard input, so that no history has it."
        ),
    ],
) -> None:
    """Delete a user and their emails. Exits with 1 if there is no such user."""
    from service.outbox.events import Events
    from service.signup.users import Users

    wanted = sys.stdin.readline().strip() if address == "-" else address

    async def delete(database: "Database", settings: "Settings") -> None:
        everybody = Users(database, Events.from_settings(settings, database=database))
        found = await everybody.find_newest(1, address=wanted)
        erased = await everybody.erase(wanted)
        if erased is None:
            complain("Nobody has signed up with this address.")
            raise typer.Exit(1)
        say(
            f"Erased user {erased} and their emails. An email already being sent may still arrive. "
            "Audit entries stay; they contain only the user's id."
        )
        if any(_describe(user) == "no" for user in found):
            say("The address had not been confirmed.")

    run_with_database(delete)


def _json_lines() -> Callable[[Row], object]:
    return lambda user: sys.stdout.write(f"{to_json_line(user)}\n")


def _csv(columns: Sequence[str]) -> Callable[[Row], object]:
    """RFC 4180, every field in quotes."""
    table = csv.writer(sys.stdout, quoting=csv.QUOTE_ALL)
    table.writerow(columns)
    return lambda user: table.writerow([escape_formulas(_text(user[name])) for name in columns])


def _describe(user: Row) -> str:
    """Whether the address is confirmed; nothing for a user who was never asked."""
    if user["confirmed_at"] is not None:
        return "yes"
    return "no" if user["confirmation_asked_at"] is not None else ""


def escape_formulas(text: str) -> str:
    """The text with an apostrophe before whatever a spreadsheet would otherwise run."""
    return FORMULA.sub(r"'\g<0>", text)


def _text(value: object) -> str:
    return "" if value is None else str(value)
