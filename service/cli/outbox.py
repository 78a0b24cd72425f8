"""The commands on the outbox: what waits, what failed and why."""

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from service.cli.common import AsJson, Limit, examples, parse_duration, progress, run_with_database
from service.cli.output import say, show
from service.database.email_status import EmailStatus

if TYPE_CHECKING:
    from service.database.engine import Database
    from service.settings import Settings

SOME_ID = "01a2034d-e2b2-70ba-a0cc-98ae50e103db"

outbox = typer.Typer(help="The emails: what waits, what failed and why.", no_args_is_help=True)


@outbox.command("list", epilog=examples("outbox list --status failed", "outbox list --limit 1000 --json"))
def list_outbox(status: EmailStatus | None = None, limit: Limit = 50, as_json: AsJson = False) -> None:
    """Show emails, the newest first."""
    from service.outbox.admin import OutboxAdmin

    async def look(database: "Database", _: "Settings") -> None:
        found = await OutboxAdmin(database).newest(limit, status=status)
        columns = ("id", "recipient", "status", "attempt", "due_at", "finished_at", "last_reply")
        show(found, columns=columns, as_json=as_json)

    run_with_database(look)


@outbox.command(epilog=examples("outbox retry --all", "outbox retry --since 2h", f"outbox retry {SOME_ID}"))
def retry(
    email_id: Annotated[UUID | None, typer.Argument(metavar="[ID]")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every email that failed, or waits after a refusal.")
    ] = False,
    since: Annotated[
        str, typer.Option(help="Those that failed within this time, such as 90m, 2h or 1d.")
    ] = "",
) -> None:
    """Send failed emails again, and those that wait after a refusal."""
    from service.outbox.admin import OutboxAdmin, Selection

    if sum(map(bool, (email_id, everything, since))) != 1:
        raise typer.BadParameter("give one of ID, --all and --since")
    failed_since = parse_duration(since) if since else None

    async def again(database: "Database", _: "Settings") -> None:
        admin, retried = OutboxAdmin(database), 0
        selection = Selection(email_id=email_id, failed_since=failed_since)
        with progress() as bar:
            task = bar.add_task("Making due again", total=await admin.count_retryable(selection))
            async for some in admin.retry(selection):
                retried += some
                bar.advance(task, some)
        say(f"{retried} emails are due again.")

    run_with_database(again)
