"""Waits until a fact is true, without guessing how long that takes."""

import asyncio
import time
from collections.abc import Awaitable, Callable


async def eventually(fact: Callable[[], object], *, within: float = 30.0) -> None:
    """Calls `fact`, a function or a coroutine function, until it is true. Fails with its last value."""
    deadline = time.monotonic() + within
    while True:
        value = fact()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return
        assert time.monotonic() < deadline, f"not true within {within} s: {value!r}"
        await asyncio.sleep(0.01)
