"""The commands that try what is configured, before people depend on it."""

import math
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import CommandFailed, configure, progress, run, run_with_database
from service.cli.output import escape, say

if TYPE_CHECKING:
    from service.database.engine import Database
    from service.settings import Settings


def check() -> None:
    """Look at settings, database and relay, and say what is wrong and how to fix it."""
    from service.mail.message import Messages
    from service.settings import explain_write_errors
    from service.signup.pages import Pages

    settings = configure()
    settings.require_production_values()
    Messages(settings)
    Pages(settings)
    with explain_write_errors(settings.data_dir):
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    say("settings  ok")
    run_with_database(_check)


def send_test(
    address: Annotated[str, typer.Argument(help="Whom to send it to: yourself.")],
) -> None:
    """Send one welcome mail, now, and show what the relay says. Nothing is stored."""
    from service.person.address import InvalidAddress, parse

    settings = configure()
    settings.require_production_values()
    try:
        mailbox = parse(address).mailbox
    except InvalidAddress as exc:
        raise typer.BadParameter(str(exc)) from exc
    words = run(send_one(mailbox, settings))
    say(f"The relay took it: {escape(words)}")
    say("Look into that inbox; if it is not there within minutes, into the spam folder.")


async def send_one(mailbox: str, settings: "Settings") -> str:
    """The words of the relay. Raises CommandFailed."""
    from service.mail.diagnosis import explain
    from service.mail.message import Messages
    from service.mail.relay import Relay
    from service.outbox.channel import ChannelTrouble, Refusal
    from service.outbox.row import Email
    from service.runtime.ids import new_id

    email = Email(
        id=new_id(),
        recipient=mailbox,
        name=None,
        request_id="",
        attempt=1,
        deferrals=0,
        held_until=math.inf,
    )
    relay = Relay(settings)
    try:
        with progress() as bar:
            bar.add_task("Sending", total=None)
            return await relay.send(Messages(settings).welcome(email))
    except (Refusal, ChannelTrouble) as exc:
        raise CommandFailed(escape(explain(exc, settings))) from exc
    finally:
        await relay.close()


async def _check(database: "Database", settings: "Settings") -> None:
    from service.database import migrations
    from service.mail.diagnosis import explain
    from service.mail.relay import Relay
    from service.outbox.channel import ChannelTrouble

    if trouble := await migrations.find_problem(database):
        raise CommandFailed(trouble)
    say("database  ok")
    try:
        await Relay(settings).probe()
    except ChannelTrouble as exc:
        raise CommandFailed(escape(explain(exc, settings))) from exc
    say("relay     ok")
