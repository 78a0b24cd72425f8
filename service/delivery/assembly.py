"""Builds the parts that deliver mail, for the API and for the command `worker`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

from service.database.engine import Database
from service.delivery.circuit_breaker import CircuitBreaker
from service.delivery.deliver import Delivery
from service.delivery.slow_sends import SlowSends
from service.delivery.suspicion import Suspicion
from service.delivery.worker import Worker
from service.mail.channel import MailChannel
from service.mail.message import Messages
from service.mail.relay import Relay
from service.observability.metrics import Metrics
from service.outbox.repository import Outbox
from service.outbox.send_quota import SendQuota
from service.runtime.signals import drain_on_signals
from service.settings import Settings


@dataclass(frozen=True)
class DeliverySystem:
    outbox: Outbox
    breaker: CircuitBreaker
    relay: Relay
    messages: Messages
    delivery: Delivery
    worker: Worker

    @classmethod
    def build(cls, settings: Settings, *, database: Database, metrics: Metrics) -> Self:
        """Raises InvalidSettings for a broken template."""
        outbox = Outbox(database, metrics, SendQuota.from_settings(settings, database=database))
        breaker = CircuitBreaker(settings.smtp_connections, metrics)
        suspicion = Suspicion()
        relay = Relay(settings)
        messages = Messages(settings)
        channel = MailChannel(messages=messages, relay=relay)
        delivery = Delivery(
            outbox=outbox,
            channel=channel,
            breaker=breaker,
            suspicion=suspicion,
            slow_sends=SlowSends(settings.smtp_connections),
            metrics=metrics,
        )
        worker = Worker(
            database=database,
            outbox=outbox,
            delivery=delivery,
            channel=channel,
            breaker=breaker,
            suspicion=suspicion,
        )
        return cls(
            outbox=outbox, breaker=breaker, relay=relay, messages=messages, delivery=delivery, worker=worker
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        try:
            async with self.worker.running():
                with drain_on_signals(self.delivery.close):
                    try:
                        yield
                    finally:
                        await self.delivery.drain()
        finally:
            await self.relay.close()
