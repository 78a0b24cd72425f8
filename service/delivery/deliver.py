"""The background task: delivers a claimed email and records the outcome."""

import asyncio
import contextlib
import random
import time

import structlog

from service.database.engine import DatabaseUnavailable
from service.delivery.circuit_breaker import CircuitBreaker, Paused
from service.delivery.slow_sends import SlowSendCancelled, SlowSends
from service.delivery.suspicion import Suspicion
from service.observability.metrics import ChannelMetrics
from service.outbox.channel import (
    CannotBuild,
    Channel,
    ChannelFull,
    ChannelTrouble,
    Fault,
    FinalRefusal,
    Refusal,
    SendCancelled,
)
from service.outbox.repository import Outbox
from service.outbox.row import Deferred, Email, Failed, Outcome, Released, Sent
from service.runtime.signals import DRAIN_SECONDS

MAX_IN_FLIGHT = 1000  # claimed emails of this process, including those that wait for a connection
MAX_IN_DOUBT = 10  # the same, while the relay is in doubt
RECORD_AGAIN_AFTER = 0.5  # s
SLOW_AGAIN_AFTER = 3.0  # s

log = structlog.get_logger()


class Delivery:
    """`deliver` is the only way in which emails are sent, by the route's task and by the worker."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        channel: Channel,
        breaker: CircuitBreaker,
        suspicion: Suspicion,
        slow_sends: SlowSends,
        metrics: ChannelMetrics,
        noun: str = "email",
    ) -> None:
        self._outbox = outbox
        self._channel = channel
        self._breaker = breaker
        self._suspicion = suspicion
        self._slow_sends = slow_sends
        self._metrics = metrics
        self._noun = noun
        self._in_flight: dict[Email, None] = {}
        metrics.in_flight.set_function(lambda: len(self._in_flight))
        self._unrecorded = 0  # outcomes that could not be recorded at the first try
        self._closed_at = 0.0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> list[Email]:
        """The emails that this process has claimed and not finished."""
        return list(self._in_flight)

    @property
    def capacity(self) -> int:
        """How many more emails may be claimed: none while an outcome waits for the database. A sent email
        must be recorded before anybody takes it for unsent."""
        if self._unrecorded or not (allowed := self._breaker.allowed):
            return 0
        most = MAX_IN_FLIGHT
        if self._suspicion.in_doubt:
            most = MAX_IN_DOUBT
        if self._breaker.is_recovering:
            most = allowed
        return max(most - len(self._in_flight), 0)

    async def deliver(self, email: Email) -> None:
        """Sends a claimed email and records the outcome. Never raises."""
        self._begin(email)
        try:
            outcome = await self._outcome(email)
            await self._record(email, outcome)
        except Exception:  # a bug must not reach the request, nor stop other deliveries
            log.exception("outbox.delivery_broke", **self._ids(email))
        finally:
            self._end(email)

    def cancel_slow_sends(self) -> None:
        """Lets those who wait go before those that the relay is slow with."""
        if self._breaker.has_queue:
            self._slow_sends.cancel_long()

    def close(self) -> None:
        """Starts no more deliveries, and releases emails whose delivery has not started."""
        self._closed_at = self._closed_at or time.monotonic()
        self._breaker.close()

    async def drain(self) -> None:
        """Lets deliveries under way finish, until DRAIN_SECONDS after `close`."""
        self.close()
        try:
            async with asyncio.timeout(self._closed_at + DRAIN_SECONDS - time.monotonic()):
                await self._idle.wait()
        except TimeoutError:
            log.warning("delivery.drain_cut_short", in_flight=len(self._in_flight))

    def _begin(self, email: Email) -> None:
        self._in_flight[email] = None
        self._idle.clear()

    def _end(self, email: Email) -> None:
        del self._in_flight[email]
        if not self._in_flight:
            self._idle.set()

    async def _outcome(self, email: Email) -> Outcome | None:
        while True:
            try:
                async with self._breaker.place():
                    return await self._attempt(email)
            except Paused:
                return Released()
            except ChannelFull as exc:  # the next delivery that ends frees a connection
                self._breaker.limit_connections(exc.connections, exc.reason)

    async def _attempt(self, email: Email) -> Outcome | None:
        """None if this process no longer holds the email: its next holder sends it."""
        if not email.is_held():
            return None
        if not self._suspicion.admit(email):
            return Released()
        if not self._slow_sends.has_room(email):
            return Released(delay=SLOW_AGAIN_AFTER)
        try:
            with self._metrics.delivery_seconds.time():
                async with self._slow_sends.watch(email) as may_send:
                    reply = await self._channel.send(email, may_send=may_send)
        except SendCancelled:
            return None
        except ChannelFull:
            raise
        except Exception as exc:
            return self._handle(email, exc)
        self._suspicion.record_acceptance()
        self._breaker.record_success()
        return Sent(reply)

    def _handle(self, email: Email, exc: Exception) -> Outcome:
        match exc:
            case ChannelTrouble():
                return self._handle_trouble(email, exc)
            case Refusal():
                return self._handle_refusal(email, exc)
            case SlowSendCancelled():
                return Released(
                    "The relay took long to answer, and others went first.", delay=SLOW_AGAIN_AFTER
                )
            case DatabaseUnavailable():  # the content of an event is read when it is sent
                return Released(delay=RECORD_AGAIN_AFTER)
            case CannotBuild():
                return Failed(f"This email could not be built: {exc}")
            case _:
                log.error("outbox.attempt_broke", exc_info=exc, **self._ids(email))
                return Deferred("The service itself failed; its log says how.")

    def _handle_trouble(self, email: Email, trouble: ChannelTrouble) -> Outcome:
        self._breaker.pause(email.redact(trouble.reason), at_least=trouble.pause)
        return Released(trouble.reason)

    def _handle_refusal(self, email: Email, refusal: Refusal) -> Outcome:
        own = (
            Failed(refusal.reason)
            if isinstance(refusal, FinalRefusal)
            else Deferred(refusal.reason, at_least=refusal.retry_after)
        )
        if refusal.unknown and self._metrics.unknown_outcomes:
            self._metrics.unknown_outcomes.inc()
        if refusal.fault is Fault.RECIPIENT:
            return own
        seconds = self._suspicion.record_refusal(
            email, accuses_relay=refusal.fault is Fault.CHANNEL, retry_after=refusal.retry_after
        )
        if seconds is None:
            return own
        if self._suspicion.in_doubt:
            self._breaker.doubt(email.redact(refusal.summary))
        # Each retry after an unknown outcome may be one more mail to a person, so it always counts.
        return own if refusal.unknown else Released(refusal.reason, delay=seconds)

    async def _record(self, email: Email, outcome: Outcome | None) -> None:
        """Retries until the database has recorded the outcome, as long as the process lives."""
        if outcome is None:
            log.warning("outbox.no_longer_held", **self._ids(email))
            return
        try:
            await self._outbox.record(email, outcome)
        except DatabaseUnavailable:
            await self._record_later(email, outcome)
        self._report(email, outcome)

    async def _record_later(self, email: Email, outcome: Outcome) -> None:
        self._unrecorded += 1
        try:
            while True:
                await asyncio.sleep(RECORD_AGAIN_AFTER * random.uniform(0.5, 1.5))  # noqa: S311  # not a secret
                with contextlib.suppress(DatabaseUnavailable):
                    return await self._outbox.record(email, outcome)
        finally:
            self._unrecorded -= 1

    def _report(self, email: Email, outcome: Outcome) -> None:
        name = type(outcome).__name__.lower()
        self._metrics.outcomes.labels(name).inc()
        log.info(f"outbox.{name}", **self._ids(email))

    def _ids(self, email: Email) -> dict[str, object]:
        return {f"{self._noun}_id": str(email.id), "request_id": email.request_id, "attempt": email.attempt}
