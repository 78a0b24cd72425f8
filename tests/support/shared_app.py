"""One app for many tests: building one, with its lifespan, takes ten times as long as most requests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx

from service.database.engine import Database
from service.database.models import OUTBOX, USERS, RateCount, table
from service.settings import Settings
from tests.support.app import running
from tests.support.database import rows
from tests.support.loop_thread import LoopThread
from tests.support.relay import ScriptedRelay

STORED_BY_SIGNUPS = (OUTBOX, USERS, table(RateCount))  # in the order in which they can be deleted
FIND = """
SELECT EXISTS (SELECT 1 FROM users) OR EXISTS (SELECT 1 FROM rate_counts) AS stored,
  EXISTS (SELECT 1 FROM outbox WHERE status = 'pending') AS pending
"""


class SharedApp:
    """With its relay, in a thread. Nothing of a signup is left for the next test; audit entries and counts
    are."""

    def __init__(self, settings: Settings) -> None:
        self._thread = LoopThread()
        self.relay = self._thread.do(ScriptedRelay.started())
        self.settings = settings.model_copy(update={"smtp_port": self.relay.port})
        self._database = Database(self.settings)
        self._lifespan = AsyncExitStack()
        self._app = self._thread.do(self._lifespan.enter_async_context(running(self.settings))).app

    def empty(self) -> None:
        """Once nothing is under way any more, of which the next test would see the log."""
        self._thread.do(self._empty())

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        transport = _Through(self._thread, httpx.ASGITransport(self._app, raise_app_exceptions=False))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client

    def stop(self) -> None:
        self._thread.do(self._lifespan.aclose())
        self._thread.do(self._database.close())
        self._thread.do(self.relay.stop())
        self._thread.stop()

    async def _empty(self) -> None:
        while (found := await self._find())["pending"]:  # noqa: ASYNC110  # a database has no event
            await asyncio.sleep(0.01)
        if found["stored"]:  # a commit takes longer than to look, and most cases are refused
            async with self._database.transaction() as connection:
                for each in STORED_BY_SIGNUPS:
                    await connection.execute(each.delete())
        self.relay.forget()

    async def _find(self) -> Any:
        [found] = await rows(self._database, FIND)
        return found


class _Through(httpx.AsyncBaseTransport):
    """Calls a transport in the thread."""

    def __init__(self, thread: LoopThread, transport: httpx.AsyncBaseTransport) -> None:
        self._thread = thread
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await asyncio.wrap_future(self._thread.start(self._transport.handle_async_request(request)))
