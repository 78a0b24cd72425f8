"""The commands that test what is configured: `check` and `send-test`."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import CommandFailed, configure, find_database_problem, progress, run
from service.cli.output import complain, escape, say

if TYPE_CHECKING:
    from service.database.engine import Database
    from service.settings import Settings

DATABASE_SETTINGS = frozenset({"database_url", "data_dir"})
WEBHOOK_SETTINGS = frozenset({"webhook_url", "webhook_secret"})


def check() -> None:
    """Test settings, database, relay and webhook, and say how to fix what is wrong. Creates nothing."""
    from service.settings import InvalidSettings
    from service.settings.loading import load_without

    wrong: frozenset[str] = frozenset()
    sentences: list[str] = []
    settings = None
    while settings is None:
        try:
            settings = load_without(wrong) if wrong else configure()
        except InvalidSettings as exc:  # once the single values are right, some may not fit together
            if not exc.names - wrong:
                raise
            wrong |= exc.names
            sentences += str(exc).splitlines()

    results = [
        _report("settings", [*sentences, *_settings_problems(settings)]),
        _test("database", _database_problems, settings, untestable=bool(wrong & DATABASE_SETTINGS)),
        _test(
            "relay",
            _relay_problems,
            settings,
            untestable=settings.sends_login_in_clear or any(name.startswith("smtp_") for name in wrong),
        ),
    ]
    has_wrong_webhook = bool(wrong & WEBHOOK_SETTINGS)
    if settings.webhook_url or has_wrong_webhook:
        results.append(_test("webhook", _webhook_problems, settings, untestable=has_wrong_webhook))
    if not all(results):
        raise typer.Exit(1)


def _test(
    part: str,
    find_problems: "Callable[[Settings], Iterator[str]]",
    settings: "Settings",
    *,
    untestable: bool,
) -> bool:
    if untestable:
        return _report(part, ["Not tested, because its settings are wrong."])
    return _report(part, list(find_problems(settings)))


def _report(part: str, problems: Sequence[str]) -> bool:
    say(f"{part:9} {'NOT ok' if problems else 'ok'}")
    for problem in problems:
        complain(escape(problem))
    return not problems


def _settings_problems(settings: "Settings") -> Iterator[str]:
    from service.mail.message import Messages
    from service.settings import InvalidSettings
    from service.settings.loading import find_env_file_problems
    from service.signup.confirm_pages import ConfirmPages
    from service.signup.pages import Pages
    from service.templating.misspelled_files import find_misspelled_templates

    yield from find_env_file_problems()
    yield from find_misspelled_templates(settings.templates_dir)
    for use in (
        settings.require_production_values,
        lambda: Messages(settings),
        lambda: ConfirmPages(settings, Pages(settings)),
    ):
        try:
            use()
        except InvalidSettings as exc:
            yield from str(exc).splitlines()
    if problem := _find_unwritable(settings.data_dir):
        yield problem


def _find_unwritable(folder: Path) -> str | None:
    """Why entries could not be written there, without writing any."""
    from service.settings import describe_unwritable

    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return None
    reason = "no right to write" if existing.is_dir() else f"{existing} is not a folder"
    return describe_unwritable(folder, reason)


def _database_problems(settings: "Settings") -> Iterator[str]:
    from service.database.engine import Database
    from service.database.readiness import find_damage
    from service.settings import InvalidSettings

    async def find_problem() -> str | None:
        database = Database(settings, create=False)
        try:
            return (
                await find_database_problem(database, storing=True)
                or await _find_link_problem(settings, database)
                or await find_damage(database)
            )
        finally:
            await database.close()

    try:
        with progress() as bar:
            bar.add_task("Reading the database", total=None)
            problem = run(find_problem())
    except InvalidSettings as exc:
        problem = str(exc)
    if problem:
        yield problem


async def _find_link_problem(settings: "Settings", database: "Database") -> str | None:
    from service.database.engine import DatabaseUnavailable
    from service.mail.links import NOBODY, Links

    try:
        if settings.asks_to_confirm:
            await Links(settings, database=database).token(NOBODY)
    except DatabaseUnavailable as exc:
        return f"No link can be signed: {exc}."
    return None


def _relay_problems(settings: "Settings") -> Iterator[str]:
    from service.mail.diagnosis import explain
    from service.mail.relay import PATIENCE, Relay
    from service.outbox.channel import ChannelTrouble

    async def probe() -> None:
        relay = Relay(settings, patience=PATIENCE)
        try:
            await relay.probe()
        finally:
            await relay.close()

    try:
        with progress() as bar:
            bar.add_task("Asking the relay", total=None)
            run(probe())
    except ChannelTrouble as exc:
        yield explain(exc, settings)


def _webhook_problems(settings: "Settings") -> Iterator[str]:
    from service.outbox.channel import ChannelTrouble, LaterRefusal
    from service.runtime.ids import new_id
    from service.webhook.endpoint import Endpoint
    from service.webhook.event import encode_ping

    async def post() -> None:
        endpoint = Endpoint(settings)
        try:
            await endpoint.post(str(new_id()), encode_ping())
        finally:
            await endpoint.close()

    try:
        run(post())
    except ChannelTrouble as exc:
        yield f"{exc.reason}. Check WEBHOOK_URL, and that the system there runs."
    except LaterRefusal as exc:
        yield (
            f'The endpoint does not take a ping: "{exc.reason}". Check WEBHOOK_URL, that WEBHOOK_SECRET is '
            "also the receiver's, and that it answers a type that it does not know with 200."
        )


def send_test(
    address: Annotated[str, typer.Argument(help="Whom to send it to: yourself.")],
) -> None:
    """Send one welcome mail, now, and show what the relay says. Nothing is stored."""
    from service.person.address import InvalidAddress, parse

    settings = configure()
    settings.require_production_values()
    try:
        recipient = parse(address).recipient
    except InvalidAddress as exc:
        raise typer.BadParameter(str(exc)) from exc
    words = run(send_one(recipient, settings))
    say(f"The relay accepted it: {escape(words)}")
    say("Look for it in that inbox, and after some minutes in the spam folder.")


async def send_one(mailbox: str, settings: "Settings") -> str:
    """The words of the relay. Raises CommandFailed."""
    from service.mail.diagnosis import explain
    from service.mail.message import Messages
    from service.mail.relay import PATIENCE, Relay
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
    relay = Relay(settings, patience=PATIENCE)
    try:
        with progress() as bar:
            bar.add_task("Sending", total=None)
            return await relay.send(Messages(settings).welcome(email))
    except (Refusal, ChannelTrouble) as exc:
        raise CommandFailed(escape(explain(exc, settings))) from exc
    finally:
        await relay.close()
