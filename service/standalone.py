"""`service up`: everything in one process, and an inbox instead of a relay."""

import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from service import schema, server
from service.app import create_app
from service.database import Database
from service.inbox.http import InboxHttp
from service.inbox.mailbox import Mailbox
from service.inbox.smtp import InboxSmtp
from service.memory import settle
from service.settings import Security, Settings, load
from service.welcome import preview

LOOPBACK = "127.0.0.1"


def own_inbox() -> dict[str, object]:
    """Settings that send all mail to the built-in inbox, whatever the environment names as relay."""
    return {
        "worker": True,
        "smtp_host": LOOPBACK,
        "smtp_port": load().inbox_smtp_port,
        "smtp_username": "",
        "smtp_password": "",
        "smtp_security": Security.NONE,
    }


async def up(settings: Settings, *, say: Callable[[str], None], with_inbox: bool) -> None:
    """Until a signal ends it. Raises PortInUse, and what `migrate` and `create_app` raise."""
    with contextlib.closing(server.listen(settings.host, settings.port, setting="PORT")) as listener:
        database = Database(settings)
        try:
            await schema.migrate(database)
        finally:
            await database.close()
        async with _inbox(settings) if with_inbox else contextlib.nullcontext():
            app = create_app(settings)
            app.add(preview.routes(settings))
            api = _Announcing(server.config(app))
            settle()
            api.announcement = lambda: _announce(settings, say=say, with_inbox=with_inbox)
            await api.serve([listener])


class _Announcing(server.Server):
    """Says that it is up once it answers, and not before."""

    announcement: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.announcement()


@asynccontextmanager
async def _inbox(settings: Settings) -> AsyncIterator[None]:
    mailbox = Mailbox()
    smtp = InboxSmtp(mailbox, host=LOOPBACK, port=settings.inbox_smtp_port)
    pages = InboxHttp(mailbox, host=LOOPBACK, port=settings.inbox_http_port)
    try:
        with server.explained(LOOPBACK, settings.inbox_smtp_port, setting="INBOX_SMTP_PORT"):
            await smtp.start()
        with server.explained(LOOPBACK, settings.inbox_http_port, setting="INBOX_HTTP_PORT"):
            await pages.start()
        yield
    finally:
        await smtp.stop()
        await pages.stop()


def _announce(settings: Settings, *, say: Callable[[str], None], with_inbox: bool) -> None:
    api = f"http://{settings.host}:{settings.port}"
    say(f"API    {api}  (documentation at {api}/docs)")
    say(f"Page   {api}/  (what the mail looks like: {api}{preview.PATH})")
    if with_inbox:
        say(f"Inbox  http://{LOOPBACK}:{settings.inbox_http_port}  (all mail ends here)")
        say(f"SMTP   {LOOPBACK}:{settings.inbox_smtp_port}")
    else:
        say(f"SMTP   {settings.smtp_host}:{settings.smtp_port}  (a real relay: mail goes to people)")
    say("\nTry it:\n")
    body = '{"email": "ada@example.com", "name": "Ada"}'
    say(f"  curl -i {api}/signup -H 'Content-Type: application/json' -d '{body}'\n")
