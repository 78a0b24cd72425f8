"""Measures signups as 64 clients see them, while mails wait or are delivered."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from bench.databases import Store
from bench.load import Answers
from bench.measurements import Measurement
from bench.processes import Running
from bench.smtp_sink import Counter
from bench.testbed import Testbed

STALL_TIMEOUT = 10.0  # s without progress; what is missing then counts as lost
LOOK_EVERY = 0.01  # s


async def floor(testbed: Testbed) -> Measurement:
    async with testbed.uvicorn("bench.floor:app") as server:
        return await _measure_answers(testbed, server)


async def relay_away(testbed: Testbed) -> Measurement:
    async with (
        testbed.databases.create() as store,
        testbed.service("service", "serve", store=store) as server,
    ):
        return await _measure_answers(testbed, server)


async def unaudited(testbed: Testbed) -> Measurement:
    async with (
        testbed.databases.create() as store,
        testbed.service("service", "serve", store=store, AUDIT_EXCLUDE="/signup") as server,
    ):
        return await _measure_answers(testbed, server)


async def handing_on(testbed: Testbed) -> Measurement:
    async with (
        testbed.databases.create() as store,
        testbed.uvicorn("bench.receiver:app") as receiver,
        testbed.service(
            *("service", "serve"),
            store=store,
            WEBHOOK_URL=f"http://127.0.0.1:{receiver.port}",
            WEBHOOK_SECRET=f"whsec_{'A' * 32}",
        ) as server,
    ):
        return await _measure_answers(testbed, server)


async def relay_hanging(testbed: Testbed) -> Measurement:
    async with (
        testbed.databases.create() as store,
        testbed.hanging_relay() as port,
        testbed.service("service", "serve", store=store, smtp_port=port) as server,
    ):
        return await _measure_answers(testbed, server)


async def delivering(testbed: Testbed) -> Measurement:
    async with (
        testbed.databases.create() as store,
        testbed.sink() as (port, mails),
        testbed.service("service", "serve", store=store, smtp_port=port) as server,
    ):
        return await _WholeJob(testbed, server, store, mails, audit="audit_log").measure()


async def recipe(testbed: Testbed) -> Measurement:
    async with (
        testbed.databases.create() as store,
        testbed.sink() as (port, mails),
        testbed.uvicorn("bench.recipe:app", DATABASE_URL=store.url, SMTP_PORT=port) as server,
    ):
        return await _WholeJob(testbed, server, store, mails, audit="recipe_audit").measure()


async def _measure_answers(testbed: Testbed, server: Running) -> Measurement:
    await server.wait_until_answering()
    await testbed.warm_up(server)
    return Measurement.of(await testbed.load(server))


class _WholeJob:
    """The measurement ends when every mail is with the sink and every audit entry is in its table."""

    def __init__(
        self, testbed: Testbed, server: Running, store: Store, mails: Counter, *, audit: str
    ) -> None:
        self._testbed = testbed
        self._server = server
        self._store = store
        self._mails = mails
        self._audit = audit

    async def measure(self) -> Measurement:
        await self._server.wait_until_answering()
        before = await self._testbed.warm_up(self._server)
        await self._wait_until_done(before, mails=0, entries=0)
        mails, entries = self._mails.value, await self._entries()
        answers = await self._testbed.load(self._server)
        until, lost = await self._wait_until_done(answers, mails=mails, entries=entries)
        return Measurement.of(answers, until=until, lost=lost)

    async def _wait_until_done(self, answers: Answers, *, mails: int, entries: int) -> tuple[float, int]:
        """The end, and how much was lost. `mails` and `entries` were there before."""
        sent, mails_lost = await _wait_for(mails + answers.created, self._delivered)
        written, entries_lost = await _wait_for(entries + answers.statuses.total(), self._entries)
        return max(sent, written, answers.ended), mails_lost + entries_lost

    async def _delivered(self) -> int:
        return self._mails.value

    async def _entries(self) -> int:
        return await self._store.count_audited_signups(self._audit)


async def _wait_for(expected: int, count: Callable[[], Awaitable[int]]) -> tuple[float, int]:
    """The time of the last progress, and how many are missing then."""
    seen, moment = -1, time.monotonic()
    while seen < expected and time.monotonic() - moment < STALL_TIMEOUT:
        if (found := await count()) != seen:
            seen, moment = found, time.monotonic()
        await asyncio.sleep(LOOK_EVERY)
    return moment, max(expected - seen, 0)
