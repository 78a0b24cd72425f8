"""Measures mails a second, without any signups at the same time."""

import asyncio
import time

from bench.measurements import Measurement
from bench.smtp_sink import Counter
from bench.testbed import Testbed
from service.database.email_status import EmailStatus

MAILS_A_SECOND = 3_000  # more than the relay takes, so that the outbox stays full
WARM_UP = 500  # mails
# How long the relay takes for a reply, in s. No relay takes no time: Postfix, beside the service, took 5 ms
# (930 mails a second).
NEARBY, FAR_AWAY = 0.002, 0.02
LOOK_EVERY = 0.005  # s
WITHIN = 60.0  # s


async def pool(testbed: Testbed, *, reply_after: float) -> Measurement:
    async with testbed.sink(reply_after) as (port, mails), testbed.pool(port):
        return await _delivered(mails, seconds=testbed.seconds)


async def worker(testbed: Testbed, *, reply_after: float) -> Measurement:
    waiting = int(MAILS_A_SECOND * testbed.seconds) + WARM_UP
    async with testbed.databases.create() as store, testbed.sink(reply_after) as (port, mails):
        await store.fill(waiting, status=EmailStatus.PENDING)
        async with testbed.service("service", "worker", store=store, smtp_port=port):
            return await _delivered(mails, seconds=testbed.seconds, at_most=waiting)


async def _delivered(mails: Counter, *, seconds: float, at_most: int | None = None) -> Measurement:
    async with asyncio.timeout(WITHIN):
        await _until(mails, WARM_UP)
    began, before = time.monotonic(), mails.value
    try:
        async with asyncio.timeout(seconds):
            await _until(mails, at_most)
    except TimeoutError:
        pass  # the usual end
    return Measurement(rate=(mails.value - before) / (time.monotonic() - began))


async def _until(mails: Counter, count: int | None) -> None:
    while count is None or mails.value < count:  # noqa: ASYNC110  # another process counts
        await asyncio.sleep(LOOK_EVERY)
