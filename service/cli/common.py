"""What the commands have in common: how they run, ask the database, fail, and show rows."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress
    from sqlalchemy import RowMapping

    from service.database.engine import Database
    from service.settings import Settings

Result = TypeVar("Result")

Limit = Annotated[int, typer.Option(min=1, help="How many to show, the newest first.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]

console = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)


class CommandFailed(Exception):
    """A sentence for people: what is wrong, and the fix."""


def examples(*commands: str) -> str:
    """The end of a command's help."""
    return "\n\n".join(["For example:", *(f"signup-service {command}" for command in commands)])


def explain(exc: Exception) -> str | None:
    """The sentence for people, or None if it is a bug."""
    from service.database.engine import DatabaseUnavailable
    from service.settings import InvalidSettings
    from service.web.server import PortInUse

    match exc:
        case CommandFailed() | InvalidSettings() | PortInUse():
            return str(exc)
        case DatabaseUnavailable():
            return f"The database cannot be used: {exc}. Check DATABASE_URL, and that the server runs."
        case _:
            return None


def run(work: Coroutine[Any, Any, Result]) -> Result:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def configure() -> "Settings":
    """The settings, with logging set up by them. Raises InvalidSettings."""
    from service import settings
    from service.observability import logs

    configured = settings.load()
    logs.configure(configured)
    return configured


def run_with_database(work: "Callable[[Database, Settings], Awaitable[Result]]") -> Result:
    """Raises InvalidSettings, and what the work raises."""
    from service.database.engine import Database

    async def with_database() -> Result:
        settings = configure()
        database = Database(settings)
        try:
            return await work(database, settings)
        finally:
            await database.close()

    return run(with_database())


def progress(*, hidden: bool = False) -> "Progress":
    """A bar for whoever watches; standard output is for what was asked for."""
    from rich.progress import Progress

    return Progress(console=errors, transient=True, disable=hidden or not errors.is_terminal)


def show(rows: "Sequence[RowMapping]", *, columns: Sequence[str], as_json: bool) -> None:
    """As a table of these columns, or all there is as JSON lines."""
    if as_json:
        for row in rows:
            typer.echo(as_line(row))
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(*columns)
    for row in rows:
        table.add_row(*("" if row[name] is None else escape(str(row[name])) for name in columns))
    console.print(table)


def as_line(row: "RowMapping") -> str:
    return json.dumps({name: _plain(value) for name, value in row.items()})


def _plain(value: object) -> object:
    match value:
        case None | int() | str():
            return value
        case bytes():
            return value.hex()
        case datetime():
            return value.isoformat()
        case _:
            return str(value)
