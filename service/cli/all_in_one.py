"""Everything in one process, and an inbox instead of a relay: what `up` runs."""

import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from service.app import create_app
from service.cli.common import CommandFailed, explain_unavailable
from service.database import migrations
from service.database.engine import Database, DatabaseUnavailable
from service.inbox.http_server import InboxHttpServer
from service.inbox.smtp_server import CAUGHT, InboxSmtpServer
from service.inbox.store import MailStore
from service.mail import preview
from service.outbox.admin import OutboxAdmin
from service.runtime.gc_tuning import tune_gc
from service.settings import Security, Settings, SmtpAuth
from service.settings.loading import load
from service.settings.urls import http_url
from service.web.middleware import AllowedHostsMiddleware
from service.web.server import Server, config, explain_port_errors, listen

LOOPBACK = "127.0.0.1"


def inbox_settings() -> dict[str, object]:
    """Settings that send all mail to the built-in inbox, whatever the environment names as relay."""
    return {
        "worker": True,
        "smtp_host": LOOPBACK,
        "smtp_port": load().inbox_smtp_port,
        "smtp_username": "",
        "smtp_password": "",
        "smtp_auth": SmtpAuth.PASSWORD,
        "smtp_oauth_token_url": "",
        "smtp_security": Security.NONE,
    }


async def run_all(settings: Settings, *, say: Callable[[str], None], with_inbox: bool) -> None:
    """Until a signal ends it. Raises CommandFailed and what `listen` and `create_app` do."""
    with contextlib.closing(listen(settings.host, settings.port, setting="PORT")) as listener:
        database = Database(settings)
        try:
            if with_inbox:
                await refuse_foreign_database(database)
            await migrations.migrate(database)
        except DatabaseUnavailable as exc:
            raise CommandFailed(explain_unavailable(database, exc)) from exc
        finally:
            await database.close()
        async with _inbox(settings) if with_inbox else contextlib.nullcontext():
            app = create_app(settings)
            app.include_router(preview.routes(settings))
            app.add_middleware(AllowedHostsMiddleware, hosts=allowed_hosts(settings))
            tune_gc()
            api = Server(
                config(app, keep_alive=settings.keep_alive),
                on_started=lambda: _announce(settings, say=say, with_inbox=with_inbox),
            )
            await api.serve([listener])


def allowed_hosts(settings: Settings) -> set[str]:
    """The names, besides loopback's, under which a developer reaches this process."""
    return {settings.host, socket.gethostname(), urlsplit(settings.public_url).hostname or ""}


async def refuse_foreign_database(database: Database) -> None:
    """Raises CommandFailed for the database of a service that mails to people: the inbox would take what
    is theirs. Others may be at work on a server's right now; a file from which all have left is free."""
    admin = OutboxAdmin(database)
    if await migrations.is_empty(database):
        return
    words = await admin.last_accepted_reply()
    if words is None or words.startswith(CAUGHT):
        return
    if not database.is_sqlite or (await admin.queue_depth()).pending:
        raise CommandFailed(
            "This database belongs to a service that mails through a relay, and the inbox would catch what "
            "waits there for people: take --relay, or another DATABASE_URL or DATA_DIR."
        )


@asynccontextmanager
async def _inbox(settings: Settings) -> AsyncIterator[None]:
    store = MailStore()
    smtp = InboxSmtpServer(store, host=LOOPBACK, port=settings.inbox_smtp_port)
    api = http_url(settings.host, settings.port)
    links = {"Sign up": f"{api}/", "Preview": f"{api}{preview.PATH}"}
    pages = InboxHttpServer(store, host=LOOPBACK, port=settings.inbox_http_port, links=links)
    try:
        with explain_port_errors(LOOPBACK, settings.inbox_smtp_port, setting="INBOX_SMTP_PORT"):
            await smtp.start()
        with explain_port_errors(LOOPBACK, settings.inbox_http_port, setting="INBOX_HTTP_PORT"):
            await pages.start()
        yield
    finally:
        await smtp.stop()
        await pages.stop()


def _announce(settings: Settings, *, say: Callable[[str], None], with_inbox: bool) -> None:
    api = http_url(settings.host, settings.port)
    say(f"Page     {api}/")
    if settings.docs:
        say(f"API      {api}/docs")
    say(f"Preview  {api}{preview.PATH}")
    if with_inbox:
        say(f"Inbox    http://{LOOPBACK}:{settings.inbox_http_port}/  (catches all mail)")
        say(f"SMTP     {LOOPBACK}:{settings.inbox_smtp_port}")
    else:
        say(f"SMTP     {settings.smtp_host}:{settings.smtp_port}  (a real relay: mail goes to people)")
    # A new address each time, or tomorrow it would be taken.
    body = f'{{"email": "ada-{secrets.token_hex(2)}@example.com", "name": "Ada"}}'
    say("\nTry it:\n")
    say(f"  curl -i {api}/signup \\")
    say("    -H 'Content-Type: application/json' \\")
    say(f"    -d '{body}'\n")
