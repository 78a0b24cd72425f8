"""Signals: after the first, deliveries under way finish and no new ones start; the second exits at once."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(
    number
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    if signal.getsignal(number) is not signal.SIG_IGN  # as nohup does with SIGHUP, to outlive its terminal
)
DRAIN_SECONDS = 25.0  # for deliveries under way to finish

# s. A terminal signals the whole process group, and then the parent process signals each child again:
# the child must not take that for a second signal.
SAME_SIGNAL_WITHIN = 1.0


@contextmanager
def drain_on_signals(begin: Callable[[], None]) -> Iterator[None]:
    """Calls `begin` at the first signal, and then the previous handler.

    uvicorn ends the lifespan only after all background tasks, which is too late to stop new deliveries;
    and it ignores a second SIGTERM.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can handle signals
        return
    loop = asyncio.get_running_loop()
    signalled_at: float | None = None

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal signalled_at
        if signalled_at is not None:
            if time.monotonic() - signalled_at > SAME_SIGNAL_WITHIN:
                os._exit(128 + number)  # everything that matters is on disk
            return
        signalled_at = time.monotonic()
        loop.call_soon_threadsafe(begin)
        if callable(handler := before[signal.Signals(number)]):
            handler(number, frame)

    before = {number: signal.signal(number, on_signal) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
