"""What the commands share: how they run, ask the database, and fail."""

import re
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

    from service.database.engine import Database
    from service.settings import Settings

Result = TypeVar("Result")

UNITS = {"m": "minutes", "h": "hours", "d": "days"}

Limit = Annotated[int, typer.Option(min=1, help="How many to show, the newest first.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line, with every field.")]


class CommandFailed(Exception):
    """A sentence for people: what is wrong, and the fix."""


def examples(*commands: str) -> str:
    """The end of a command's help."""
    return "\n\n\b\n".join(["For example:", "\n".join(f"  signup-service {command}" for command in commands)])


def parse_duration(text: str) -> timedelta:
    """Of the option --since."""
    match = re.fullmatch(r"(\d{1,5})([mhd])", text)
    if match is None:
        raise typer.BadParameter("a time such as 90m, 2h or 1d", param_hint="--since")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


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
    import asyncio

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
    """A bar for whoever watches. It uses standard error: standard output is for what was asked for."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=hidden or not console.is_terminal)
