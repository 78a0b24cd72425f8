"""The background task: all that lies between a claimed email and its recorded outcome."""

import asyncio
import contextlib
import random
import time

import structlog

from service.database.engine import DatabaseUnavailable
from service.delivery.circuit_breaker import CircuitBreaker, Paused
from service.mail.message import CannotBuild, Messages
from service.mail.relay import FinalRefusal, LaterRefusal, Relay, RelayTrouble, Withdrawn
from service.observability.metrics import Metrics
from service.outbox.repository import Outbox
from service.outbox.row import Deferred, Email, Failed, Outcome, Released, Sent
from service.runtime.signals import DRAIN_SECONDS

MAX_IN_FLIGHT = 1000  # claimed emails of this process, those that wait for a connection included
SUSPICIOUS_STREAK = 10  # final refusals without a 250 between: it is the relay, not the recipients
RECORD_AGAIN_AFTER = 0.5  # s

log = structlog.get_logger()


class Delivery:
    """`deliver` is the only way an email is sent, for the route's task and the worker alike."""

    def __init__(
        self, *, outbox: Outbox, messages: Messages, relay: Relay, breaker: CircuitBreaker, metrics: Metrics
    ) -> None:
        self._outbox = outbox
        self._messages = messages
        self._relay = relay
        self._breaker = breaker
        self._metrics = metrics
        self._in_flight: dict[Email, None] = {}
        metrics.in_flight.set_function(lambda: len(self._in_flight))
        self._held_back = 0  # outcomes that the database did not take at the first try
        self._refused_in_a_row = 0
        self._closed_at = 0.0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> list[Email]:
        """What this process has claimed and not finished."""
        return list(self._in_flight)

    @property
    def capacity(self) -> int:
        """How many more emails may be claimed. None while an outcome waits for the database:
        what has been sent must be on record before anybody takes it for unsent."""
        if self._held_back or not (allowed := self._breaker.allowed):
            return 0
        most = allowed if self._breaker.is_recovering else MAX_IN_FLIGHT
        return max(most - len(self._in_flight), 0)

    async def deliver(self, email: Email) -> None:
        """Sends a claimed email and records the outcome. Never raises."""
        self._take(email)
        try:
            outcome = await self._outcome(email)
            await self._record(email, outcome)
        except Exception:  # a bug must not reach the request, nor stop other deliveries
            log.exception("outbox.delivery_broke", **_ids(email))
        finally:
            self._let_go(email)

    def close(self) -> None:
        """Starts nothing more and hands back what has not begun."""
        self._closed_at = self._closed_at or time.monotonic()
        self._breaker.close()

    async def drain(self) -> None:
        """Lets what has begun finish, until DRAIN_SECONDS after the close."""
        self.close()
        try:
            async with asyncio.timeout(self._closed_at + DRAIN_SECONDS - time.monotonic()):
                await self._idle.wait()
        except TimeoutError:
            log.warning("delivery.drain_cut_short", in_flight=len(self._in_flight))

    def _take(self, email: Email) -> None:
        self._in_flight[email] = None
        self._idle.clear()

    def _let_go(self, email: Email) -> None:
        del self._in_flight[email]
        if not self._in_flight:
            self._idle.set()

    async def _outcome(self, email: Email) -> Outcome | None:
        try:
            await self._breaker.acquire()
        except Paused:
            return Released()
        try:
            return await self._attempt(email)
        finally:
            self._breaker.release()

    async def _attempt(self, email: Email) -> Outcome | None:
        """None if the email is no longer ours: its next holder will send it."""
        if not email.is_held():
            return None
        try:
            message = self._messages.welcome(email)
            with self._metrics.delivery_seconds.time():
                reply = await self._relay.send(message, may_begin=email.is_held)
        except Withdrawn:
            return None
        except Exception as exc:
            return self._unsent(email, exc)
        self._refused_in_a_row = 0
        self._breaker.record_success()
        return Sent(reply)

    def _unsent(self, email: Email, exc: Exception) -> Outcome:
        match exc:
            case CannotBuild():
                return Failed(f"This email could not be built: {exc}")
            case FinalRefusal():
                return self._refused(email, exc.reason)
            case LaterRefusal():
                return Deferred(exc.reason)
            case RelayTrouble(unknown=True):
                return self._unknown(email, exc.reason)
            case RelayTrouble():
                return self._relay_at_fault(email, exc.reason)
            case _:
                log.error("outbox.attempt_broke", exc_info=exc, **_ids(email))
                return Deferred("The service itself failed; its log says how.")

    def _refused(self, email: Email, reason: str) -> Outcome:
        self._refused_in_a_row += 1
        if self._refused_in_a_row <= SUSPICIOUS_STREAK:
            return Failed(reason)
        return self._relay_at_fault(email, reason)

    def _unknown(self, email: Email, reason: str) -> Outcome:
        """Every repeat may be one mail more to a person, so unlike other trouble this costs the email."""
        self._metrics.unknown_outcomes.inc()
        self._breaker.pause(email.redact(reason))
        return Deferred(reason)

    def _relay_at_fault(self, email: Email, reason: str) -> Outcome:
        self._breaker.pause(email.redact(reason))
        return Released(reason)

    async def _record(self, email: Email, outcome: Outcome | None) -> None:
        """Holds the outcome until the database takes it, for as long as the process lives."""
        if outcome is None:
            log.warning("outbox.lost", **_ids(email))
            return
        try:
            await self._outbox.record(email, outcome)
        except DatabaseUnavailable:
            await self._record_later(email, outcome)
        self._report(email, outcome)

    async def _record_later(self, email: Email, outcome: Outcome) -> None:
        self._held_back += 1
        try:
            while True:
                await asyncio.sleep(RECORD_AGAIN_AFTER * random.uniform(0.5, 1.5))  # noqa: S311  # not a secret
                with contextlib.suppress(DatabaseUnavailable):
                    return await self._outbox.record(email, outcome)
        finally:
            self._held_back -= 1

    def _report(self, email: Email, outcome: Outcome) -> None:
        name = type(outcome).__name__.lower()
        self._metrics.emails.labels(name).inc()
        log.info(f"outbox.{name}", **_ids(email))


def _ids(email: Email) -> dict[str, object]:
    return {"email_id": str(email.id), "request_id": email.request_id, "attempt": email.attempt}
