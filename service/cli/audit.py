"""The commands on the audit log."""

from typing import TYPE_CHECKING

import typer

from service.cli.common import AsJson, Limit, examples, progress, run_with_database
from service.cli.output import say, show

if TYPE_CHECKING:
    from service.database.engine import Database
    from service.settings import Settings

audit = typer.Typer(help="The audit log.", no_args_is_help=True)


@audit.command("list", epilog=examples("audit list", "audit list --limit 1000 --json"))
def list_audit(limit: Limit = 50, as_json: AsJson = False) -> None:
    """Show entries, the newest first."""
    from sqlalchemy import select

    from service.database.models import AUDIT_LOG

    async def look(database: "Database", _: "Settings") -> None:
        async with database.read_only() as connection:
            newest = select(AUDIT_LOG).order_by(AUDIT_LOG.c.occurred_at.desc()).limit(limit)
            found = (await connection.execute(newest)).mappings().all()
        columns = ("occurred_at", "method", "route", "status", "duration_us", "request_id", "client_network")
        show(found, columns=columns, as_json=as_json)

    run_with_database(look)


@audit.command(epilog=examples("audit verify"))
def verify() -> None:
    """Look for entries that are missing or were altered; exit with 1 if there are any."""
    from service.audit.verify import Verification

    async def look(database: "Database", settings: "Settings") -> int:
        verification = Verification(database, key=settings.audit_key.get_secret_value().encode())
        faults = 0
        with progress() as bar:
            task = bar.add_task("Verifying", total=None)
            async for finding in verification.findings():
                say(str(finding))
                faults += 1
                bar.update(task, completed=verification.checked, total=verification.total)
        say(f"{verification.checked} entries, {faults} faults.")
        return faults

    if run_with_database(look):
        raise typer.Exit(1)
