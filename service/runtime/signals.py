"""What a signal means: begin nothing more and finish what has begun; a second one ends at once."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = signal.SIGTERM, signal.SIGINT
DRAIN_SECONDS = 25.0  # that deliveries which have begun get to finish

# s. A terminal signals the whole process group, and then the parent of several processes signals each
# of them: that is one order to end, given twice.
SAME_SIGNAL_WITHIN = 1.0


@contextmanager
def drain_on_signals(begin: Callable[[], None]) -> Iterator[None]:
    """Calls `begin` at the first signal, and then whoever handled it before.

    The server would only tell us once all background tasks have ended, which is too late to keep
    new ones from beginning; and it ignores a second SIGTERM.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are not ours to handle here
        return
    loop = asyncio.get_running_loop()
    signalled_at: float | None = None

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal signalled_at
        if signalled_at is not None:
            if time.monotonic() - signalled_at > SAME_SIGNAL_WITHIN:
                os._exit(128 + number)  # all that matters is on disk
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
