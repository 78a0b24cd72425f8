"""Answers that tell nothing by their time: each leaves at a whole step after its request came."""

import asyncio
import time

STEP = 0.1  # s; what a new and a known address differ in takes a small part of it


async def next_step(began: int) -> None:
    """Waits for the next whole step since then, in ns of `time.perf_counter_ns`."""
    step = STEP * (_since(began) // STEP + 1)
    # Timers count from the start of the loop's round, and so run early by what it had to do before:
    # one sleep alone would give that away.
    while (left := step - _since(began)) > 0:  # noqa: ASYNC110  # time is all that it waits for
        await asyncio.sleep(left)


def _since(began: int) -> float:
    return (time.perf_counter_ns() - began) / 1e9
