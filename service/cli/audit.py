"""The commands on the audit log."""

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import (
    AsJson,
    CommandFailed,
    Limit,
    examples,
    parse_since,
    progress,
    run_with_database,
)
from service.cli.output import complain, escape, say, show

if TYPE_CHECKING:
    from service.database.engine import Database
    from service.settings import Settings

COLUMNS = (
    "occurred_at",
    "method",
    "route",
    "status",
    "duration_us",
    "request_id",
    "user_id",
    "client_network",
)

audit = typer.Typer(help="The audit log.", no_args_is_help=True)


@audit.command(
    "list", epilog=examples("audit list --status 500 --since 2h", "audit list --route /signup --json")
)
def list_audit(
    *,
    request_id: Annotated[str | None, typer.Option(help="Entries of the request with this id.")] = None,
    status: Annotated[int | None, typer.Option(min=100, max=599, help="Answers with this status.")] = None,
    route: Annotated[str | None, typer.Option(help="A route such as /signup/{signup_id}.")] = None,
    since: Annotated[str, typer.Option(help="Entries of this last time, such as 90m, 2h or 1d.")] = "",
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Show entries, the newest first. Exits with 1 if there are none."""
    from service.audit import listing

    age = parse_since(since) if since else None

    async def find(database: "Database", _: "Settings") -> None:
        try:
            found = await listing.find_newest(
                database, limit=limit, request_id=request_id, status=status, route=route, since=age
            )
        except ValueError as exc:  # somebody wrote into SQLite's table, which takes any value
            raise CommandFailed(
                "An entry was altered so that it cannot be shown: `signup-service audit verify` names it."
            ) from exc
        show(found, columns=COLUMNS, as_json=as_json)

    run_with_database(find)


@audit.command(epilog=examples("audit verify"))
def verify() -> None:
    """Name entries that are missing, altered or unexpected; exit with 1 if there are any.

    Ends with the range of each instance (a process that wrote entries) and their number. Keep that: a
    later run shows no fewer instances, and no number of any of them is lower.
    """
    from service.audit.verify import Verification

    async def find_faults(database: "Database", settings: "Settings") -> None:
        secret = settings.audit_key.get_secret_value().encode()
        if not secret:
            complain("AUDIT_KEY is not set: this finds mistakes, not forgers.")
        verification = Verification(database, secret=secret)
        faults = 0
        with progress() as bar:
            task = bar.add_task("Verifying", total=None)
            async for finding in verification.findings():
                say(escape(str(finding)))
                faults += 1
                bar.update(task, completed=verification.checked, total=verification.total)
        for head in sorted(verification.heads):
            say(str(head))
        say(f"entries: {verification.checked}, instances: {len(verification.heads)}, faults: {faults}")
        if faults:
            raise typer.Exit(1)

    run_with_database(find_faults)
