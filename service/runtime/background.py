"""The life cycle of every background loop: a context manager that the lifespan enters."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def run_in_background(*loops: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs the loops beside the body, and cancels them at its end."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
