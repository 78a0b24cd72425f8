"""The commands on the outbox: what waits, what failed and why."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

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
from service.cli.output import complain, say, show
from service.database.email_status import EmailStatus
from service.database.outbox_kinds import ChannelName, Kind

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

    from service.database.engine import Database
    from service.outbox.admin import OutboxAdmin, Selection
    from service.settings import Settings

COLUMNS = ("id", "status", "at", "recipient", "last_reply")

Id = Annotated[
    str | None, typer.Argument(metavar="[ID]", help="An email's id, or a beginning that only it has.")
]
Address = Annotated[str | None, typer.Option(help="Emails to this address, in any spelling.")]

outbox = typer.Typer(help="The emails: what waits, what failed and why.", no_args_is_help=True)


@outbox.command(
    "list", epilog=examples("outbox list --status failed", "outbox list --address ada@example.com --json")
)
def list_outbox(
    status: Annotated[EmailStatus | None, typer.Option(help="Emails in this state.")] = None,
    address: Address = None,
    kind: Annotated[Kind | None, typer.Option(help="Only this kind of email or event.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Show emails and events, the newest first; with a status those whose time comes or came last."""
    from service.outbox.admin import OutboxAdmin, Selection

    async def find(database: "Database", _: "Settings") -> None:
        found = await OutboxAdmin(database).find_newest(
            limit, status=status, selection=Selection(address=address, kind=kind)
        )
        rows = found if as_json else [{**row, **_shorten(row)} for row in found]
        columns = [name for name in COLUMNS if not (status and name == "status")]
        show(rows, columns=columns, as_json=as_json)

    run_with_database(find)


@outbox.command(epilog=examples("outbox retry --all", "outbox retry --since 2h", "outbox retry 01a2034d"))
def retry(
    email_id: Id = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every email that failed, or waits after a refusal.")
    ] = False,
    since: Annotated[
        str | None, typer.Option(help="Those that failed within this time, such as 90m, 2h or 1d.")
    ] = None,
) -> None:
    """Send failed emails again, and those that wait after a refusal. Exits with 1 if there are none."""
    _require_one(ID=email_id, all=everything, since=since)
    failed_since = parse_since(since) if since else None

    async def make_due(database: "Database", _: "Settings") -> None:
        from service.outbox.admin import OutboxAdmin, Selection

        admin = OutboxAdmin(database)
        selection = Selection(email_id=await _find(admin, email_id), failed_since=failed_since)
        retried = await _change(selection, title="Retrying", count=admin.count_retryable, change=admin.retry)
        if not retried:
            complain("Nothing to retry: no such email or event failed, or waits after a refusal.")
            raise typer.Exit(1)
        say(f"{_describe(retried)} due again.")

    run_with_database(make_due)


@outbox.command(
    epilog=examples(
        "outbox drop 01a2034d", "outbox drop --address ada@example.com", "outbox drop --domain example.com"
    )
)
def drop(
    email_id: Id = None,
    address: Address = None,
    domain: Annotated[str | None, typer.Option(help="Emails to this domain.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every email that waits.")] = False,
) -> None:
    """Give up emails that wait: they are failed, and can be retried. Exits with 1 if there are none."""
    _require_one(ID=email_id, address=address, domain=domain, all=everything)

    async def give_up(database: "Database", settings: "Settings") -> None:
        from service.outbox.admin import OutboxAdmin, Selection
        from service.outbox.events import Events

        admin = OutboxAdmin(database, Events.from_settings(settings, database=database))
        selection = Selection(email_id=await _find(admin, email_id), address=address, domain=domain)
        dropped = await _change(selection, title="Dropping", count=admin.count_droppable, change=admin.drop)
        if not dropped:
            complain("Nothing to drop: no such email or event waits.")
            raise typer.Exit(1)
        say(f"{_describe(dropped)} dropped. An email already being sent may still arrive.")

    run_with_database(give_up)


def _shorten(row: "RowMapping") -> dict[str, object]:
    """What a line shows: one time, when it is tried next or was sent or failed; the recipient of an email, or
    what an event is."""
    return {
        "at": row["finished_at"] or row["due_at"],
        "recipient": row["recipient"] or f"({row['kind']})",
    }


def _require_one(**options: object) -> None:
    if sum(map(bool, options.values())) != 1:
        names = [name if name.isupper() else f"--{name}" for name in options]
        raise typer.BadParameter(f"give exactly one of {', '.join(names)}")


async def _find(admin: "OutboxAdmin", beginning: str | None) -> UUID | None:
    """The id that begins so. Raises CommandFailed unless there is exactly one."""
    if beginning is None:
        return None
    match await admin.find(beginning):
        case []:
            raise CommandFailed(f"No email or event has an id that begins with {beginning}.")
        case [email_id]:
            return email_id
        case _:
            raise CommandFailed(
                f"More than one email or event has an id that begins with {beginning}: give more of it."
            )


async def _change(
    selection: "Selection",
    *,
    title: str,
    count: "Callable[[Selection], Awaitable[int]]",
    change: "Callable[[Selection], AsyncIterator[Counter[str]]]",
) -> Counter[str]:
    """How many rows of each channel were changed."""
    changed: Counter[str] = Counter()
    with progress() as bar:
        task = bar.add_task(title, total=await count(selection))
        async for some in change(selection):
            changed += some
            bar.advance(task, some.total())
    return changed


def _describe(changed: Counter[str]) -> str:
    named = ((changed[ChannelName.MAIL], "email"), (changed[ChannelName.WEBHOOK], "event"))
    words = [f"{count} {noun}" if count == 1 else f"{count} {noun}s" for count, noun in named if count]
    return f"{' and '.join(words)} {'is' if changed.total() == 1 else 'are'}"
