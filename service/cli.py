"""The commands. An error is one sentence with the mend, and a non-zero exit status."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console

from service import logs, records, schema, server, settings, standalone, worker_process
from service.database import Database, DatabaseAway
from service.server import PortInUse
from service.settings import InvalidSettings, Settings
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

console = Console(soft_wrap=True)
errors = Console(stderr=True, soft_wrap=True)


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
    _run(standalone.up(configured, say=console.print, with_inbox=not relay))


@app.command()
def serve(
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the port.")] = 1,
) -> None:
    """Run the API, and deliver mail unless WORKER=false."""
    configured = _configured()
    configured.require_production_values()
    server.serve(server.listen(configured.host, configured.port, setting="PORT"), workers=workers)


@app.command()
def worker() -> None:
    """Deliver mail, without an API. Any number of workers share the work."""
    configured = _configured()
    configured.require_production_values()
    _run(worker_process.work(configured))


@app.command()
def migrate() -> None:
    """Bring the database to this release's schema."""
    _run(_migrate(_configured()))
    console.print("The database is up to date.")


@app.command()
def check() -> None:
    """Look at settings, database and relay, and say what is wrong and how to mend it."""
    configured = _configured()
    configured.require_production_values()
    Messages(configured)
    with settings.writable(configured.data_dir):
        configured.data_dir.mkdir(parents=True, exist_ok=True)
    console.print("settings  ok")
    _run(_check(configured))


def _configured() -> Settings:
    configured = settings.load()
    logs.configure(configured)
    return configured


def _run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


async def _migrate(configured: Settings) -> None:
    database = Database(configured)
    try:
        await schema.migrate(database)
    finally:
        await database.close()


async def _check(configured: Settings) -> None:
    database = Database(configured)
    try:
        if trouble := await schema.trouble(database):
            raise Unwell(trouble)
        console.print("database  ok")
    finally:
        await database.close()
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
