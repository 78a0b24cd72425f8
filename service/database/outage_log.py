"""What the log says while the database cannot be used: once, then seldom, and once when it is back."""

import math
import time

import structlog

REMIND_EVERY = 300.0  # s
QUIET_FOR = 10.0  # s after each line, however often the database comes and goes

log = structlog.get_logger()


class OutageLog:
    """For all background loops of a process together, each of which meets the same outage every second."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._affected: set[str] = set()
        self._reason = ""
        self._said_at = -math.inf

    def report(self, part: str, reason: str) -> None:
        self._affected.add(part)
        quiet_for = REMIND_EVERY if reason == self._reason else QUIET_FOR
        if time.monotonic() - self._said_at >= quiet_for:
            self._reason, self._said_at = reason, time.monotonic()
            log.error("database.unavailable", database=self._database, reason=reason)

    def recover(self, part: str) -> None:
        self._affected.discard(part)
        if self._reason and not self._affected:
            self._reason = ""
            log.info("database.available", database=self._database)
