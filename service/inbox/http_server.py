"""The HTTP server of the inbox, which runs in the process and event loop of the API."""

import asyncio
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import uvicorn

from service.inbox.app import create_inbox
from service.inbox.store import MailStore

GRACE = 1  # s for downloads under way to finish


class InboxHttpServer:
    """Serves the pages and MailHog's API."""

    def __init__(
        self, store: MailStore, *, host: str, port: int, links: Mapping[str, str] | None = None
    ) -> None:
        self._store = store
        self._host = host
        self._port = port
        self._server = _Guest(
            uvicorn.Config(
                create_inbox(store, host=host, links=links),
                access_log=False,
                lifespan="off",
                log_config=None,
                timeout_graceful_shutdown=GRACE,
                ws="none",
            )
        )
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that it listens on, even if it was started with port 0."""
        return self._port

    async def start(self) -> None:
        """Raises OSError if the port is in use."""
        # uvicorn itself would exit the process if the port is in use.
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listening = socket.create_server((self._host, self._port), family=family)
        self._port = listening.getsockname()[1]
        self._serving = asyncio.create_task(self._server.serve(sockets=[listening]))

    async def stop(self) -> None:
        """Also ends the requests of pages that wait for new mails."""
        if self._serving is None:
            return
        self._store.close()
        self._server.should_exit = True
        await self._serving


class _Guest(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the API handles signals, and stops this server
