"""The life cycle of every background loop: a context manager that the lifespan enters."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

LAST_ROUND_TIMEOUT = 0.5  # s that a round under way has to finish when the process ends
PAUSE_AFTER_BUG = 1.0  # s

Round = Callable[[], Awaitable[float]]  # returns the seconds until the next

log = structlog.get_logger()


@contextlib.asynccontextmanager
async def repeat_in_background(*rounds: Round) -> AsyncIterator[None]:
    """Repeats each of the rounds beside the body. One that is under way at its end may finish: cut off in
    the middle of a query it would leave a connection behind."""
    ending = asyncio.Event()
    loops = [asyncio.create_task(_repeat(each, ending)) for each in rounds]
    try:
        yield
    finally:
        ending.set()
        _, late = await asyncio.wait(loops, timeout=LAST_ROUND_TIMEOUT)
        for loop in late:
            loop.cancel()
        await asyncio.gather(*late, return_exceptions=True)


async def _repeat(each: Round, ending: asyncio.Event) -> None:
    while not ending.is_set():
        try:
            pause = await each()
        except Exception:  # a bug in one round must not end all others
            pause = PAUSE_AFTER_BUG
            log.exception("background.round_failed", round=each.__qualname__)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await ending.wait()
