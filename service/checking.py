"""The commands that try what is configured, before people depend on it."""

import math
from typing import Annotated

import typer

from service import schema, settings
from service.commands import configure, console, progress, run, run_with_database
from service.database import Database
from service.identifiers import new_id
from service.settings import Settings
from service.signup import addresses
from service.signup.pages import Pages
from service.welcome.diagnosis import explain
from service.welcome.emails import Email
from service.welcome.messages import Messages
from service.welcome.relay import Refusal, Relay, RelayTrouble


class Unwell(Exception):
    """What was found; a sentence for people."""


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


def send_test(
    address: Annotated[str, typer.Argument(help="Whom to send it to: yourself.")],
) -> None:
    """Send one welcome mail, now, and tell what the relay says. Nothing is stored."""
    configured = configure()
    configured.require_production_values()
    try:
        mailbox = addresses.parse(address).mailbox
    except addresses.NotAnAddress as exc:
        raise typer.BadParameter(str(exc)) from exc
    words = run(send_one(mailbox, configured))
    console.print(f"The relay took it: {words}", markup=False, highlight=False)
    console.print("Look into that inbox; if it is not there within minutes, into the spam folder.")


async def send_one(mailbox: str, configured: Settings) -> str:
    """The words of the relay. Raises Unwell."""
    email = Email(
        id=new_id(),
        recipient=mailbox,
        name=None,
        request_id="",
        attempt=1,
        deferrals=0,
        held_until=math.inf,
    )
    relay = Relay(configured)
    try:
        with progress() as bar:
            bar.add_task("Sending", total=None)
            return await relay.send(Messages(configured).welcome(email))
    except (Refusal, RelayTrouble) as exc:
        raise Unwell(explain(exc, configured)) from exc
    finally:
        await relay.close()


async def _check(database: Database, configured: Settings) -> None:
    if trouble := await schema.trouble(database):
        raise Unwell(trouble)
    console.print("database  ok")
    try:
        await Relay(configured).probe()
    except RelayTrouble as exc:
        raise Unwell(explain(exc, configured)) from exc
    console.print("relay     ok")
