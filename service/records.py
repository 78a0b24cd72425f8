"""The commands that look at what is stored, and mend it."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, TypeVar
from uuid import UUID

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import RowMapping, select

from service import settings
from service.audit.verify import AUDIT_LOG, Verification
from service.database import Database
from service.metrics import Metrics
from service.models import EmailStatus
from service.settings import Settings
from service.welcome.outbox import Outbox

Result = TypeVar("Result")

UNITS = {"m": "minutes", "h": "hours", "d": "days"}

console = Console(soft_wrap=True)
progress_console = Console(stderr=True)
outbox = typer.Typer(help="The emails: what waits, what failed and why.", no_args_is_help=True)
audit = typer.Typer(help="The audit log.", no_args_is_help=True)

Limit = Annotated[int, typer.Option(min=1, help="How many to show, the newest first.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]


@outbox.command("list")
def list_outbox(status: EmailStatus | None = None, limit: Limit = 50, as_json: AsJson = False) -> None:
    """Show emails, the newest first."""

    async def show(database: Database, _: Settings) -> None:
        found = await Outbox(database, Metrics()).list(status=status, limit=limit)
        columns = ("id", "recipient", "status", "attempt", "due_at", "finished_at", "last_reply")
        _show(found, columns=columns, as_json=as_json)

    _run(show)


@outbox.command()
def retry(
    email_id: Annotated[UUID | None, typer.Argument(metavar="[ID]")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every failed email.")] = False,
    since: Annotated[
        str, typer.Option(help="Those that failed within this time, such as 90m, 2h or 1d.")
    ] = "",
) -> None:
    """Send failed emails again."""
    if sum(map(bool, (email_id, everything, since))) != 1:
        raise typer.BadParameter("give one of ID, --all and --since")
    failed_since = _duration(since) if since else None

    async def again(database: Database, _: Settings) -> None:
        count = await Outbox(database, Metrics()).retry(email_id=email_id, failed_since=failed_since)
        console.print(f"{count} failed emails are due again.")

    _run(again)


@audit.command("list")
def list_audit(limit: Limit = 50, as_json: AsJson = False) -> None:
    """Show entries, the newest first."""

    async def show(database: Database, _: Settings) -> None:
        async with database.reading() as connection:
            newest = select(AUDIT_LOG).order_by(AUDIT_LOG.c.occurred_at.desc()).limit(limit)
            found = (await connection.execute(newest)).mappings().all()
        columns = ("occurred_at", "method", "route", "status", "duration_us", "request_id", "client_network")
        _show(found, columns=columns, as_json=as_json)

    _run(show)


@audit.command()
def verify() -> None:
    """Look for entries that are missing or were altered; exit with 1 if there are any."""

    async def look(database: Database, configured: Settings) -> int:
        verification = Verification(database, key=configured.audit_key.get_secret_value().encode())
        faults = 0
        with Progress(
            console=progress_console, transient=True, disable=not progress_console.is_terminal
        ) as progress:
            task = progress.add_task("Verifying", total=None)
            async for finding in verification.findings():
                console.print(str(finding))
                faults += 1
                progress.update(task, completed=verification.checked, total=verification.total)
        console.print(f"{verification.checked} entries, {faults} faults.")
        return faults

    if _run(look):
        raise typer.Exit(1)


def _run(work: Callable[[Database, Settings], Awaitable[Result]]) -> Result:
    async def with_database() -> Result:
        configured = settings.load()
        database = Database(configured)
        try:
            return await work(database, configured)
        finally:
            await database.close()

    return asyncio.run(with_database())


def _show(rows: Sequence[RowMapping], *, columns: Sequence[str], as_json: bool) -> None:
    if as_json:
        for row in rows:
            typer.echo(json.dumps({name: _plain(row[name]) for name in row}))
        return
    table = Table(*columns)
    for row in rows:
        table.add_row(*("" if row[name] is None else escape(str(row[name])) for name in columns))
    console.print(table)


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


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"(\d+)([mhd])", text)
    if match is None:
        raise typer.BadParameter("a time such as 90m, 2h or 1d", param_hint="--since")
    return timedelta(**{UNITS[match[2]]: int(match[1])})
