"""How many deliveries the relay, or the endpoint, is given at once: all, fewer while it recovers, or none."""

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from service.observability.logs import redact_addresses
from service.observability.metrics import ChannelMetrics
from service.runtime.backoff import double

FIRST_PAUSE, MAX_PAUSE = 1.0, 60.0  # s
FULL_FOR = 60.0  # s until a relay that took no more connections is asked for more
REPORT_DOUBT_AFTER = 5.0  # s

log = structlog.get_logger()


class Paused(Exception):
    """No delivery is allowed for a while. Whoever waited for its turn should not wait any longer."""


class CircuitBreaker:
    """One integer, the level, decides. Above zero it is how many deliveries are allowed at once; it doubles
    with each message that the relay takes, up to the limit. At or below zero it counts the pauses since the
    relay last took a message. Each pause is longer than the one before, and after it one delivery is allowed.

    While the relay is in doubt, one delivery at a time is allowed.
    """

    def __init__(self, limit: int, metrics: ChannelMetrics, *, name: str = "relay") -> None:
        self.name = name  # of what is protected, in logs
        self._limit = limit
        self._metrics = metrics
        self._level = limit
        self._in_use = 0
        self._paused_until = 0.0
        self._capacity = limit  # connections that the relay is known to take
        self._full_until = -math.inf
        self._in_doubt_since: float | None = None
        self._doubts = 0
        self._begun_before_doubt = 0  # deliveries under way that began before the doubt
        self._is_reported = False
        self._closed = False
        self._queue: deque[asyncio.Future[None]] = deque()
        self.trouble: str | None = None  # why not all deliveries are allowed

    @property
    def allowed(self) -> int:
        if self._closed or time.monotonic() < self._paused_until:
            return 0
        level = max(self._level, 1)
        return level if self._in_doubt_since is None else min(level, self._begun_before_doubt + 1)

    @property
    def pause_seconds(self) -> float:
        """Seconds until the next delivery is allowed."""
        return max(self._paused_until - time.monotonic(), 0.0)

    @property
    def has_queue(self) -> bool:
        """Whether deliveries wait for a place."""
        return bool(self._queue)

    @property
    def is_recovering(self) -> bool:
        """Whether the relay has taken nothing since it gave trouble."""
        return self._level <= 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Occupies one of the allowed places; who asks first gets the first. Raises Paused."""
        if self.allowed == 0:
            raise Paused
        if self._in_use < self.allowed and not self._queue:
            self._in_use += 1
        else:
            await self._queue_up()
        doubts = self._doubts
        try:
            yield
        finally:
            if doubts != self._doubts:
                self._begun_before_doubt -= 1
            self._release()

    def record_success(self) -> None:
        """The relay accepted a message."""
        if math.isinf(self._paused_until):  # it had begun before the pause that nothing ends
            return
        if self.trouble is not None:
            self.trouble = None
            self._metrics.paused.set(0)
        was_reported, self._is_reported = self._is_reported, False
        self._in_doubt_since = None
        self._paused_until = 0.0
        if time.monotonic() >= self._full_until:
            self._capacity = self._limit
        self._level = min(max(self._level, 1) * 2, self._capacity)
        self._admit()
        if was_reported:
            log.info(f"{self.name}.recovered")

    def pause(self, reason: str, *, at_least: float = 0.0) -> None:
        """No delivery is allowed for a while. Deliveries that fail together cause one pause.
        `math.inf` is until the process ends."""
        if self.pause_seconds:
            return
        self._level = min(self._level, 0) - 1
        longest = double(FIRST_PAUSE, times=-self._level - 1, at_most=MAX_PAUSE)
        seconds = max(longest * random.uniform(0.5, 1), at_least)  # noqa: S311  # not a secret
        self._paused_until = time.monotonic() + seconds
        self._capacity, self._full_until = self._limit, -math.inf  # the relay took no connection at all
        self._set_trouble(reason)
        self._turn_away()
        self._report()

    def doubt(self, reason: str) -> None:
        """Refusals may be the relay's fault: one delivery at a time, until the relay takes a message."""
        if self._in_doubt_since is None:
            self._in_doubt_since = time.monotonic()
            self._doubts += 1
            self._begun_before_doubt = self._in_use
        self._set_trouble(reason)
        if time.monotonic() - self._in_doubt_since >= REPORT_DOUBT_AFTER:  # sooner, another may be taken
            self._report()

    def limit_connections(self, capacity: int, reason: str) -> None:
        """The relay takes no more connections than these: allows no more for FULL_FOR seconds."""
        if time.monotonic() >= self._full_until + FULL_FOR:
            log.info(f"{self.name}.connections_limited", reason=redact_addresses(reason))
        self._full_until = time.monotonic() + FULL_FOR
        self._capacity = capacity
        self._level = min(self._level, capacity)

    def close(self) -> None:
        """No delivery is allowed any more; those under way may finish."""
        self._closed = True
        self._turn_away()

    def _set_trouble(self, reason: str) -> None:
        self.trouble = redact_addresses(reason)  # the relay may name anybody, and this goes to /readyz too
        self._metrics.paused.set(1)

    def _report(self) -> None:
        if not self._is_reported:
            self._is_reported = True
            log.error(f"{self.name}.paused", reason=self.trouble)

    async def _queue_up(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release()  # the place came at the same moment
            raise

    def _release(self) -> None:
        self._in_use -= 1
        self._admit()

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
