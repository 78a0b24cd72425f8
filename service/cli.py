"""The commands. An error is one sentence with the mend, and a non-zero exit status."""

from typing import Annotated

import typer

from service import checking, logs, people, records, schema, server, settings, standalone, worker_process
from service.checking import Unwell
from service.commands import configure, console, errors, examples, progress, run, run_with_database
from service.database import Database, DatabaseAway
from service.server import PortInUse
from service.settings import InvalidSettings, Settings
from service.standalone import MailedElsewhere

app = typer.Typer(
    name="signup-service",
    help="Sign up, be answered at once, get the welcome email.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(records.outbox, name="outbox")
app.add_typer(records.audit, name="audit")
app.add_typer(people.users, name="users")


def main() -> None:
    try:
        app()
    except (InvalidSettings, MailedElsewhere, PortInUse, Unwell) as exc:
        _fail(str(exc))
    except DatabaseAway as exc:
        _fail(f"The database cannot be used: {exc}. Check DATABASE_URL, and that the server runs.")


@app.command(epilog=examples("up", "up --relay"))
def up(
    relay: Annotated[bool, typer.Option("--relay", help="Mail through SMTP_HOST, to real people.")] = False,
) -> None:
    """Run everything in one process: API, delivery, and an inbox that catches all mail."""
    configured = settings.load() if relay else settings.load(**standalone.own_inbox())
    logs.configure(configured)
    if relay:
        configured.require_production_values()
    run(standalone.up(configured, say=console.print, with_inbox=not relay))


@app.command(epilog=examples("serve", "serve --workers 2"))
def serve(
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the port.")] = 1,
) -> None:
    """Run the API, and deliver mail unless WORKER=false."""
    configured = configure()
    configured.require_production_values()
    server.serve(server.listen(configured.host, configured.port, setting="PORT"), workers=workers)


@app.command(epilog=examples("worker"))
def worker() -> None:
    """Deliver mail, without an API. Any number of workers share the work."""
    configured = configure()
    configured.require_production_values()
    run(worker_process.work(configured))


@app.command(epilog=examples("migrate"))
def migrate() -> None:
    """Bring the database to this release's schema."""

    async def bring_up_to_date(database: Database, _: Settings) -> None:
        with progress() as bar:
            bar.add_task("Migrating", total=None)
            await schema.migrate(database)

    run_with_database(bring_up_to_date)
    console.print("The database is up to date.")


app.command(epilog=examples("check"))(checking.check)
app.command(epilog=examples("send-test you@your-domain.example"))(checking.send_test)


def _fail(sentence: str) -> None:
    errors.print(sentence, style="red", markup=False, highlight=False)
    raise SystemExit(1)
