"""What the commands have in common: how they run, ask the database, and show rows."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

import typer
import uvloop
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import RowMapping

from service import logs, settings
from service.database import Database
from service.settings import Settings

Result = TypeVar("Result")

Limit = Annotated[int, typer.Option(min=1, help="How many to show, the newest first.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]

console = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)


def examples(*commands: str) -> str:
    """The end of a command's help."""
    return "\n\n".join(["For example:", *(f"signup-service {command}" for command in commands)])


def run(work: Coroutine[Any, Any, Result]) -> Result:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def configure() -> Settings:
    """Raises InvalidSettings."""
    configured = settings.load()
    logs.configure(configured)
    return configured


def run_with_database(work: Callable[[Database, Settings], Awaitable[Result]]) -> Result:
    """Raises InvalidSettings, and what the work raises."""

    async def with_database() -> Result:
        configured = configure()
        database = Database(configured)
        try:
            return await work(database, configured)
        finally:
            await database.close()

    return run(with_database())


def progress(*, hidden: bool = False) -> Progress:
    """A bar for whoever watches; standard output is for what was asked for."""
    return Progress(console=errors, transient=True, disable=hidden or not errors.is_terminal)


def show(rows: Sequence[RowMapping], *, columns: Sequence[str], as_json: bool) -> None:
    """As a table of these columns, or all there is as JSON lines."""
    if as_json:
        for row in rows:
            typer.echo(as_line(row))
        return
    table = Table(*columns)
    for row in rows:
        table.add_row(*("" if row[name] is None else escape(str(row[name])) for name in columns))
    console.print(table)


def as_line(row: RowMapping) -> str:
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
