"""Signups as 64 clients see them, while mails wait or are delivered."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from bench.databases import Store
from bench.figures import Figures
from bench.load import Answers
from bench.processes import Running
from bench.sink import Counter
from bench.stage import Stage

PATIENCE = 10.0  # s without any progress; then what has not come counts as lost
LOOK_EVERY = 0.01  # s


async def floor(stage: Stage) -> Figures:
    async with stage.uvicorn("bench.floor:app") as server:
        return await _answers(stage, server)


async def relay_away(stage: Stage) -> Figures:
    async with stage.databases.fresh() as store, stage.service("service", "serve", store=store) as server:
        return await _answers(stage, server)


async def unaudited(stage: Stage) -> Figures:
    async with (
        stage.databases.fresh() as store,
        stage.service("service", "serve", store=store, AUDIT_EXCLUDE="/signup") as server,
    ):
        return await _answers(stage, server)


async def relay_hanging(stage: Stage) -> Figures:
    async with (
        stage.databases.fresh() as store,
        stage.hanging_relay() as port,
        stage.service("service", "serve", store=store, smtp_port=port) as server,
    ):
        return await _answers(stage, server)


async def delivering(stage: Stage) -> Figures:
    async with (
        stage.databases.fresh() as store,
        stage.sink() as (port, mails),
        stage.service("service", "serve", store=store, smtp_port=port) as server,
    ):
        return await _WholeJob(stage, server, store, mails, audit="audit_log").figures()


async def recipe(stage: Stage) -> Figures:
    async with (
        stage.databases.fresh() as store,
        stage.sink() as (port, mails),
        stage.uvicorn("bench.recipe:app", DATABASE_URL=store.url, SMTP_PORT=port) as server,
    ):
        return await _WholeJob(stage, server, store, mails, audit="recipe_audit").figures()


async def _answers(stage: Stage, server: Running) -> Figures:
    await server.answering()
    await stage.warm_up(server)
    return Figures.of(await stage.load(server))


class _WholeJob:
    """The clock stops when every mail is with the sink and every audit entry in its table."""

    def __init__(self, stage: Stage, server: Running, store: Store, mails: Counter, *, audit: str) -> None:
        self._stage = stage
        self._server = server
        self._store = store
        self._mails = mails
        self._audit = audit

    async def figures(self) -> Figures:
        await self._server.answering()
        before = await self._stage.warm_up(self._server)
        await self._done(before, mails=0, entries=0)
        mails, entries = self._mails.value, await self._entries()
        answers = await self._stage.load(self._server)
        until, lost = await self._done(answers, mails=mails, entries=entries)
        return Figures.of(answers, until=until, lost=lost)

    async def _done(self, answers: Answers, *, mails: int, entries: int) -> tuple[float, int]:
        """When, and how much never came; `mails` and `entries` had come before."""
        sent, mails_lost = await _reached(mails + answers.created, self._delivered)
        written, entries_lost = await _reached(entries + answers.statuses.total(), self._entries)
        return max(sent, written, answers.ended), mails_lost + entries_lost

    async def _delivered(self) -> int:
        return self._mails.value

    async def _entries(self) -> int:
        return await self._store.signups_in(self._audit)


async def _reached(expected: int, count: Callable[[], Awaitable[int]]) -> tuple[float, int]:
    """The moment of the last progress, and what is missing then."""
    seen, moment = -1, time.monotonic()
    while seen < expected and time.monotonic() - moment < PATIENCE:
        if (found := await count()) != seen:
            seen, moment = found, time.monotonic()
        await asyncio.sleep(LOOK_EVERY)
    return moment, max(expected - seen, 0)
