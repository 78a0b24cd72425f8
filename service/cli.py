"""The commands. An error is one sentence with the mend, and a non-zero exit status."""

from typing import Annotated

import typer

from service import logs, people, records, schema, server, settings, standalone, worker_process
from service.commands import configure, console, errors, run, run_with_database
from service.database import Database, DatabaseAway
from service.server import PortInUse
from service.settings import InvalidSettings, Settings
from service.signup.pages import Pages
from service.welcome.messages import Messages
from service.welcome.relay import Relay, RelayTrouble

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
    except (InvalidSettings, PortInUse, Unwell) as exc:
        _fail(str(exc))
    except DatabaseAway as exc:
        _fail(f"The database cannot be used: {exc}. Check DATABASE_URL, and that the server runs.")


class Unwell(Exception):
    """What `check` found; a sentence for people."""


@app.command()
def up(
    relay: Annotated[bool, typer.Option("--relay", help="Mail through SMTP_HOST, to real people.")] = False,
) -> None:
    """Run everything in one process: API, delivery, and an inbox that catches all mail."""
    configured = settings.load() if relay else settings.load(**standalone.own_inbox())
    logs.configure(configured)
    if relay:
        configured.require_production_values()
    run(standalone.up(configured, say=console.print, with_inbox=not relay))


@app.command()
def serve(
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the port.")] = 1,
) -> None:
    """Run the API, and deliver mail unless WORKER=false."""
    configured = configure()
    configured.require_production_values()
    server.serve(server.listen(configured.host, configured.port, setting="PORT"), workers=workers)


@app.command()
def worker() -> None:
    """Deliver mail, without an API. Any number of workers share the work."""
    configured = configure()
    configured.require_production_values()
    run(worker_process.work(configured))


@app.command()
def migrate() -> None:
    """Bring the database to this release's schema."""
    run_with_database(lambda database, _: schema.migrate(database))
    console.print("The database is up to date.")


@app.command()
def check() -> None:
    """Look at settings, database and relay, and say what is wrong and how to mend it."""
    configured = configure()
    configured.require_production_values()
    Messages(configured)
    Pages(configured)
    with settings.writable(configured.data_dir):
        configured.data_dir.mkdir(parents=True, exist_ok=True)
    console.print("settings  ok")
    run_with_database(_check)


async def _check(database: Database, configured: Settings) -> None:
    if trouble := await schema.trouble(database):
        raise Unwell(trouble)
    console.print("database  ok")
    relay = Relay(configured)
    try:
        await relay.probe()
    except RelayTrouble as exc:
        raise Unwell(
            f"The relay {relay.address} cannot be used: {exc.reason}. Check SMTP_HOST, SMTP_PORT, "
            "SMTP_SECURITY and the credentials."
        ) from exc
    console.print("relay     ok")


def _fail(sentence: str) -> None:
    errors.print(sentence, style="red", markup=False, highlight=False)
    raise SystemExit(1)
