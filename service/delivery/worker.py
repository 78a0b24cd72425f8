"""The safety net: claims due emails, delivers them, and renews their leases."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.database.engine import Database
from service.delivery.circuit_breaker import CircuitBreaker
from service.delivery.deliver import Delivery
from service.delivery.suspicion import Suspicion
from service.outbox.channel import Channel
from service.outbox.repository import Outbox
from service.outbox.row import LEASE, Email
from service.runtime.background import repeat_in_background

CLAIM_AT_MOST = 500
LOOK_EVERY = 1.0  # s
LOOK_AGAIN = 0.05  # s, when the last look found something, or there was no room for more
RENEW_EVERY = LEASE.total_seconds() / 3
CLOSE_STALE_EVERY = 20.0  # s


class Worker:
    """Any number of these, in any number of processes, share one outbox."""

    def __init__(
        self,
        *,
        database: Database,
        outbox: Outbox,
        delivery: Delivery,
        channel: Channel,
        breaker: CircuitBreaker,
        suspicion: Suspicion,
        look_again: float = LOOK_AGAIN,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._delivery = delivery
        self._channel = channel
        self._breaker = breaker
        self._suspicion = suspicion
        self._look_again = look_again
        self._deliveries: set[asyncio.Task[None]] = set()
        self.last_round = time.monotonic()  # when the loop last went round; a liveness check compares

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ends at once: call `Delivery.drain` first. What is cut off is claimed again after its lease."""
        try:
            async with repeat_in_background(self._round, self._renew, self._close_stale):
                yield
        finally:
            for delivery in self._deliveries:
                delivery.cancel()
            await asyncio.gather(*self._deliveries, return_exceptions=True)

    async def run_once(self) -> int:
        """Claims due emails, up to the capacity, starts to deliver them, and returns how many."""
        self._delivery.cancel_slow_sends()
        if cleared := self._suspicion.pop_cleared():
            await self._outbox.make_due(cleared)
        limit = min(self._delivery.capacity, CLAIM_AT_MOST)
        emails = await self._claim(limit) if limit else []
        for email in emails:
            delivery = asyncio.create_task(self._delivery.deliver(email))
            self._deliveries.add(delivery)
            delivery.add_done_callback(self._deliveries.discard)
        return len(emails)

    async def _claim(self, limit: int) -> list[Email]:
        if not self._suspicion.in_doubt:
            return await self._outbox.claim(limit, probing=self._breaker.is_recovering)
        emails = await self._outbox.claim_elsewhere(limit, refused=self._suspicion.domains)
        if not emails and not self._suspicion.seconds_until_probe:
            emails = await self._outbox.claim(1, probing=True)
            for email in emails:
                self._suspicion.begin_probe(email)
        return emails

    async def _round(self) -> float:
        self.last_round = time.monotonic()
        claimed = 0
        with self._database.tolerate_outage("worker"):
            claimed = await self.run_once()
            if not claimed and self._breaker.trouble:
                await self._outbox.fail_expired(
                    f"The {self._breaker.name} could not be used: {self._breaker.trouble}"
                )
        # Without room nothing was claimed: it looks again soon, unless the relay's trouble sets the pause.
        looks_soon = claimed or not (self._delivery.capacity or self._breaker.trouble)
        pause = (
            self._look_again if looks_soon else self._breaker.pause_seconds or self._probe_pause or LOOK_EVERY
        )
        return min(pause, LOOK_EVERY)

    @property
    def _probe_pause(self) -> float:
        return self._suspicion.seconds_until_probe if self._suspicion.in_doubt else 0.0

    async def _renew(self) -> float:
        """Renews the leases of emails in flight, so that a slow relay does not look like a dead process."""
        with self._database.tolerate_outage("renewal"):  # the next renewal comes before the leases end
            if emails := self._delivery.in_flight:
                await self._outbox.renew(emails)
        return RENEW_EVERY

    async def _close_stale(self) -> float:
        await self._channel.close_stale()
        return CLOSE_STALE_EVERY
