"""Waiting for what will be true soon, without guessing when."""

import asyncio
import time
from collections.abc import Awaitable, Callable


async def eventually(fact: Callable[[], object], *, within: float = 10.0) -> None:
    """Fails with the last value if the fact, which may be a coroutine function, does not come true."""
    deadline = time.monotonic() + within
    while True:
        value = fact()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return
        assert time.monotonic() < deadline, f"not true within {within} s: {value!r}"
        await asyncio.sleep(0.01)
