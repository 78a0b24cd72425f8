"""Limits a log line to one a minute."""

import time

MINUTE = 60.0  # s


class OncePerMinute:
    """True when it is asked, and then not again for a minute."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + MINUTE
        return True
