"""How many deliveries the relay is given at once: all, fewer while it recovers, or none."""

import asyncio
import random
import time
from collections import deque

import structlog

from service.observability.logs import redact_addresses
from service.observability.metrics import Metrics

MAX_PAUSE = 60.0  # s

log = structlog.get_logger()


class Paused(Exception):
    """The relay is left alone for a while; whoever waited for it should not any longer."""


class CircuitBreaker:
    """One integer. Above zero it is how many deliveries are allowed at once; it doubles with each
    message that the relay takes, up to the limit. At or below zero it counts the pauses since the
    relay last took one: each is longer than the one before, and after it one delivery is allowed.
    """

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self._limit = limit
        self._metrics = metrics
        self._level = limit
        self._in_use = 0
        self._paused_until = 0.0
        self._closed = False
        self._queue: deque[asyncio.Future[None]] = deque()
        self.trouble: str | None = None  # why the relay is left alone

    @property
    def allowed(self) -> int:
        if self._closed or time.monotonic() < self._paused_until:
            return 0
        return max(self._level, 1)

    @property
    def paused_for(self) -> float:
        """Seconds until the next delivery is allowed."""
        return max(self._paused_until - time.monotonic(), 0.0)

    @property
    def is_recovering(self) -> bool:
        """Whether the relay has taken nothing since it gave trouble."""
        return self._level <= 0

    async def acquire(self) -> None:
        """Takes one of the allowed places, in the order of asking; `release` gives it back. Raises Paused."""
        if self.allowed == 0:
            raise Paused
        if self._in_use < self.allowed and not self._queue:
            self._in_use += 1
        else:
            await self._queue_up()

    def release(self) -> None:
        self._in_use -= 1
        self._admit()

    def record_success(self) -> None:
        """The relay took a message."""
        if self.is_recovering:
            log.info("relay.recovered")
            self.trouble = None
            self._metrics.relay_paused.set(0)
        self._paused_until = 0.0
        self._level = min(max(self._level, 1) * 2, self._limit)
        self._admit()

    def pause(self, reason: str) -> None:
        """The relay is in trouble. Those that fail together count as one."""
        if self.paused_for:
            return
        self._level = min(self._level, 0) - 1
        longest = min(2.0 ** -(self._level + 1), MAX_PAUSE)
        self._paused_until = time.monotonic() + longest * random.uniform(0.5, 1)  # noqa: S311  # not a secret
        reason = redact_addresses(reason)  # the relay may name anybody, and this goes to /readyz too
        if self.trouble is None:
            log.error("relay.paused", reason=reason)
        self.trouble = reason
        self._metrics.relay_paused.set(1)
        self._turn_away()

    def close(self) -> None:
        """No delivery is allowed any more; those under way may finish."""
        self._closed = True
        self._turn_away()

    async def _queue_up(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # the place came at the same moment
            raise

    def _admit(self) -> None:
        while self._queue and self._in_use < self.allowed:
            turn = self._queue.popleft()
            if not turn.done():
                self._in_use += 1  # taken here, not when it wakes, or others would see it free
                turn.set_result(None)

    def _turn_away(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_exception(Paused())
