"""The commands that look at what is stored, and mend it."""

import re
from datetime import timedelta
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy import select

from service.audit.tables import AUDIT_LOG
from service.audit.verify import Verification
from service.commands import AsJson, Limit, console, examples, progress, run_with_database, show
from service.database import Database
from service.models import EmailStatus
from service.settings import Settings
from service.welcome.upkeep import Upkeep

SOME_ID = "01a2034d-e2b2-70ba-a0cc-98ae50e103db"
UNITS = {"m": "minutes", "h": "hours", "d": "days"}

outbox = typer.Typer(help="The emails: what waits, what failed and why.", no_args_is_help=True)
audit = typer.Typer(help="The audit log.", no_args_is_help=True)


@outbox.command("list", epilog=examples("outbox list --status failed", "outbox list --limit 1000 --json"))
def list_outbox(status: EmailStatus | None = None, limit: Limit = 50, as_json: AsJson = False) -> None:
    """Show emails, the newest first."""

    async def look(database: Database, _: Settings) -> None:
        found = await Upkeep(database).newest(limit, status=status)
        columns = ("id", "recipient", "status", "attempt", "due_at", "finished_at", "last_reply")
        show(found, columns=columns, as_json=as_json)

    run_with_database(look)


@outbox.command(epilog=examples("outbox retry --all", "outbox retry --since 2h", f"outbox retry {SOME_ID}"))
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
        upkeep, retried = Upkeep(database), 0
        with progress() as bar:
            total = await upkeep.count_failed(email_id=email_id, failed_since=failed_since)
            task = bar.add_task("Making due again", total=total)
            async for some in upkeep.retry(email_id=email_id, failed_since=failed_since):
                retried += some
                bar.advance(task, some)
        console.print(f"{retried} failed emails are due again.")

    run_with_database(again)


@audit.command("list", epilog=examples("audit list", "audit list --limit 1000 --json"))
def list_audit(limit: Limit = 50, as_json: AsJson = False) -> None:
    """Show entries, the newest first."""

    async def look(database: Database, _: Settings) -> None:
        async with database.reading() as connection:
            newest = select(AUDIT_LOG).order_by(AUDIT_LOG.c.occurred_at.desc()).limit(limit)
            found = (await connection.execute(newest)).mappings().all()
        columns = ("occurred_at", "method", "route", "status", "duration_us", "request_id", "client_network")
        show(found, columns=columns, as_json=as_json)

    run_with_database(look)


@audit.command(epilog=examples("audit verify"))
def verify() -> None:
    """Look for entries that are missing or were altered; exit with 1 if there are any."""

    async def look(database: Database, configured: Settings) -> int:
        verification = Verification(database, key=configured.audit_key.get_secret_value().encode())
        faults = 0
        with progress() as bar:
            task = bar.add_task("Verifying", total=None)
            async for finding in verification.findings():
                console.print(str(finding))
                faults += 1
                bar.update(task, completed=verification.checked, total=verification.total)
        console.print(f"{verification.checked} entries, {faults} faults.")
        return faults

    if run_with_database(look):
        raise typer.Exit(1)


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"(\d+)([mhd])", text)
    if match is None:
        raise typer.BadParameter("a time such as 90m, 2h or 1d", param_hint="--since")
    return timedelta(**{UNITS[match[2]]: int(match[1])})
