"""Mails a second, without any signups beside them."""

import asyncio
import time

from bench.figures import Figures
from bench.sink import Counter
from bench.stage import Stage
from service.database.email_status import EmailStatus

MAILS_A_SECOND = 12_000  # more than anybody delivers here, so that the outbox stays full
WARM_UP = 500  # mails
LOOK_EVERY = 0.005  # s
WITHIN = 60.0  # s


async def pool(stage: Stage) -> Figures:
    async with stage.sink() as (port, mails), stage.pool(port):
        return await _delivered(mails, seconds=stage.seconds)


async def worker(stage: Stage) -> Figures:
    waiting = int(MAILS_A_SECOND * stage.seconds) + WARM_UP
    async with stage.databases.fresh() as store, stage.sink() as (port, mails):
        await store.fill(waiting, status=EmailStatus.PENDING)
        async with stage.service("service", "worker", store=store, smtp_port=port):
            return await _delivered(mails, seconds=stage.seconds, at_most=waiting)


async def _delivered(mails: Counter, *, seconds: float, at_most: int | None = None) -> Figures:
    async with asyncio.timeout(WITHIN):
        await _until(mails, WARM_UP)
    began, before = time.monotonic(), mails.value
    try:
        async with asyncio.timeout(seconds):
            await _until(mails, at_most)
    except TimeoutError:
        pass  # the usual end
    return Figures(rate=(mails.value - before) / (time.monotonic() - began))


async def _until(mails: Counter, count: int | None) -> None:
    while count is None or mails.value < count:  # noqa: ASYNC110  # another process counts
        await asyncio.sleep(LOOK_EVERY)
