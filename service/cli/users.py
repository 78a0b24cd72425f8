"""The commands about people: who signed up, all of it for a spreadsheet, and forgetting somebody."""

import csv
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import AsJson, Limit, examples, progress, run_with_database
from service.cli.output import as_line, complain, say, show

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

    from service.database.engine import Database
    from service.settings import Settings

COLUMNS = ("id", "email", "name", "created_at")
# What a spreadsheet may take for the start of a formula (OWASP, "CSV Injection"), full-width forms included.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

users = typer.Typer(help="Who signed up.", no_args_is_help=True)


@users.command("list", epilog=examples("users list", "users list --limit 1000 --json"))
def list_users(limit: Limit = 50, as_json: AsJson = False) -> None:
    """Show users, the newest first."""
    from service.signup.users import Users

    async def look(database: "Database", _: "Settings") -> None:
        show(await Users(database).newest(limit), columns=COLUMNS, as_json=as_json)

    run_with_database(look)


@users.command(epilog=examples("users export > users.csv", "users export --json > users.jsonl"))
def export(as_json: AsJson = False) -> None:
    """Write all users to standard output: CSV for a spreadsheet, or JSON lines."""
    from service.signup.users import Users

    # Whatever the locale; and no line ends but those that are written.
    sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]  # it is a file here
    write = _json_lines() if as_json else _csv()

    async def everybody(database: "Database", _: "Settings") -> None:
        found = Users(database)
        with progress(hidden=sys.stdout.isatty()) as bar:  # where the rows themselves are to be seen
            task = bar.add_task("Exporting", total=await found.count())
            async for page in found.pages():
                for user in page:
                    write(user)
                bar.advance(task, len(page))

    run_with_database(everybody)


@users.command(epilog=examples("users erase ada@example.com", "users erase -"))
def erase(
    address: Annotated[
        str, typer.Argument(help="In any spelling; - reads it from standard input, past the shell's history.")
    ],
) -> None:
    """Delete a user and the welcome email. Exits with 1 if there is no such user."""
    from service.signup.users import Users

    wanted = sys.stdin.readline().strip() if address == "-" else address

    async def forget(database: "Database", _: "Settings") -> bool:
        erased = await Users(database).erase(wanted)
        if erased is None:
            complain("Nobody has signed up with this address.")
            return False
        say(
            f"Erased user {erased} and the welcome email with them. A mail that was on its way may still "
            "arrive. The audit log is as it was: of a user it has the id alone."
        )
        return True

    if not run_with_database(forget):
        raise typer.Exit(1)


def _json_lines() -> "Callable[[RowMapping], object]":
    return lambda user: sys.stdout.write(f"{as_line(user)}\n")


def _csv() -> "Callable[[RowMapping], object]":
    """RFC 4180, every field in quotes."""
    table = csv.writer(sys.stdout, quoting=csv.QUOTE_ALL)
    table.writerow(COLUMNS)
    return lambda user: table.writerow([harmless(_text(user[name])) for name in COLUMNS])


def harmless(text: str) -> str:
    """With an apostrophe in front a spreadsheet shows it, and does not run it."""
    return f"'{text}" if text.startswith(FORMULA) else text


def _text(value: object) -> str:
    return "" if value is None else str(value)
