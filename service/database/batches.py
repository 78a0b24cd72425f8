"""Deletes many rows in short transactions, so that nobody waits long for one of them."""

import asyncio
from collections.abc import Awaitable, Callable

BATCH_SIZE = 1_000  # rows of one transaction
MAX_BATCHES = 200  # what is left then waits for the next round
PAUSE = 0.05  # s between batches: SQLite lets no other process write while one writes without a pause


async def delete_in_batches(delete_batch: Callable[[], Awaitable[int]]) -> int:
    """Calls `delete_batch`, which returns how many rows it has deleted, until it finds none.

    Returns how many were deleted.
    """
    deleted = 0
    for _ in range(MAX_BATCHES):
        batch = await delete_batch()
        if not batch:
            break
        deleted += batch
        await asyncio.sleep(PAUSE)
    return deleted
