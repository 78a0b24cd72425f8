"""What the commands share: how they run, ask the database, and fail."""

import os
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

    from service.database.engine import Database, DatabaseUnavailable
    from service.settings import Settings

Result = TypeVar("Result")

Limit = Annotated[int, typer.Option(min=1, help="How many to show, the newest first.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line, with every field.")]


class CommandFailed(Exception):
    """A sentence for people: what is wrong, and the fix."""


def examples(*commands: str) -> str:
    """The end of a command's help."""
    return "\n\n\b\n".join(["For example:", "\n".join(f"  signup-service {command}" for command in commands)])


def parse_since(text: str) -> timedelta:
    """Reads the value of the option --since."""
    from service.settings.durations import parse_duration

    duration = parse_duration(text)
    if duration is None:
        raise typer.BadParameter("it takes a time such as 90m, 2h or 1d", param_hint="--since")
    return duration


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
    from service.observability import logs
    from service.settings.loading import load

    configured = load()
    logs.configure(configured)
    return configured


def run_with_database(
    work: "Callable[[Database, Settings], Awaitable[Result]]", *, migrated: bool = True
) -> Result:
    """Raises InvalidSettings, what the work raises, and CommandFailed if the database cannot be used, or,
    where that matters, was not migrated."""
    from service.database.engine import Database, DatabaseUnavailable

    async def with_database() -> Result:
        settings = configure()
        database = Database(settings, create=not migrated)
        try:
            if migrated and (problem := await find_database_problem(database)):
                raise CommandFailed(problem)
            return await work(database, settings)
        except DatabaseUnavailable as exc:
            raise CommandFailed(explain_unavailable(database, exc)) from exc
        finally:
            await database.close()

    return run(with_database())


async def find_database_problem(database: "Database", *, storing: bool = False) -> str | None:
    """A sentence with the fix; with `storing` also if nothing can be stored."""
    from service.database import migrations, readiness
    from service.database.engine import DatabaseUnavailable

    try:
        problem = await migrations.find_problem(database)
        return problem or (await readiness.find_problem(database) if storing else None)
    except DatabaseUnavailable as exc:
        return explain_unavailable(database, exc)


def explain_unavailable(database: "Database", exc: "DatabaseUnavailable") -> str:
    from service.database import readiness

    # SQLite says no more of a full disk than "disk I/O error".
    has_file = database.is_sqlite and os.path.exists(database.file)  # False too if nobody may look
    if has_file and (problem := readiness.find_file_problem(database)):
        return problem
    fix = (
        "Check DATABASE_URL and DATA_DIR, or run `signup-service migrate` if it is new."
        if database.is_sqlite
        else "Check DATABASE_URL, and that the server runs."
    )
    return f"The database {database.address} cannot be used: {exc}. {fix}"


def progress(*, hidden: bool = False) -> "Progress":
    """A bar for whoever watches. It uses standard error: standard output is for what was asked for."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=hidden or not console.is_terminal)
