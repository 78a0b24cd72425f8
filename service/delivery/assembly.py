"""Builds the parts that deliver, for the API and for the command `worker`."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from service.database.engine import Database
from service.database.outbox_kinds import ChannelName
from service.delivery.circuit_breaker import CircuitBreaker
from service.delivery.deliver import Delivery
from service.delivery.slow_sends import SlowSends
from service.delivery.suspicion import Suspicion
from service.delivery.worker import LOOK_AGAIN, Worker
from service.mail.channel import MailChannel
from service.mail.links import Links
from service.mail.message import Messages
from service.mail.relay import Relay
from service.observability.metrics import ChannelMetrics, Metrics
from service.outbox.channel import Channel
from service.outbox.events import Events
from service.outbox.repository import Outbox
from service.outbox.send_quota import SendQuota
from service.runtime.signals import drain_on_signals
from service.settings import Settings

# Events are in no hurry, and SQLite has one writer: claims and outcomes in small batches would keep signups
# waiting for it.
EVENTS_GATHER = 0.25  # s
EVENTS_LOOK_AGAIN = 0.5  # s


@dataclass(frozen=True)
class ChannelDelivery:
    """Delivers by one channel, whatever becomes of the others."""

    outbox: Outbox
    breaker: CircuitBreaker
    channel: Channel
    delivery: Delivery
    worker: Worker

    @classmethod
    def assemble(
        cls,
        channel: Channel,
        *,
        outbox: Outbox,
        breaker: CircuitBreaker,
        slow_sends: SlowSends,
        noun: str,
        look_again: float = LOOK_AGAIN,
        database: Database,
        metrics: ChannelMetrics,
        **more: Any,
    ) -> Self:
        suspicion = Suspicion()
        delivery = Delivery(
            outbox=outbox,
            channel=channel,
            breaker=breaker,
            suspicion=suspicion,
            slow_sends=slow_sends,
            metrics=metrics,
            noun=noun,
        )
        worker = Worker(
            database=database,
            outbox=outbox,
            delivery=delivery,
            channel=channel,
            breaker=breaker,
            suspicion=suspicion,
            look_again=look_again,
        )
        return cls(outbox=outbox, breaker=breaker, channel=channel, delivery=delivery, worker=worker, **more)

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
            await self.channel.close()


@dataclass(frozen=True)
class MailDelivery(ChannelDelivery):
    relay: Relay
    messages: Messages
    links: Links

    @classmethod
    def build(cls, settings: Settings, *, database: Database, metrics: Metrics) -> Self:
        """Raises InvalidSettings for a broken template."""
        relay = Relay(settings)
        messages = Messages(settings)
        links = Links(settings, database=database)
        return cls.assemble(
            MailChannel(messages=messages, relay=relay, links=links),
            outbox=Outbox(
                database,
                metrics,
                SendQuota.from_settings(settings, database=database),
                events=Events.from_settings(settings, database=database),
            ),
            breaker=CircuitBreaker(settings.smtp_connections, metrics.mail),
            slow_sends=SlowSends(settings.smtp_connections),
            noun="email",
            database=database,
            metrics=metrics.mail,
            relay=relay,
            messages=messages,
            links=links,
        )


def build_event_delivery(
    settings: Settings, *, database: Database, metrics: Metrics
) -> ChannelDelivery | None:
    """None without WEBHOOK_URL: what is pending waits until it is set again."""
    if not settings.webhook_url:
        return None
    from service.webhook.channel import WebhookChannel  # it imports aiohttp, which takes long
    from service.webhook.endpoint import CONNECTIONS, Endpoint

    return ChannelDelivery.assemble(
        WebhookChannel(database, Endpoint(settings)),
        outbox=Outbox(database, metrics, channel=ChannelName.WEBHOOK, gather=EVENTS_GATHER),
        breaker=CircuitBreaker(CONNECTIONS, metrics.events, name="endpoint"),
        slow_sends=SlowSends(CONNECTIONS),
        noun="event",
        look_again=EVENTS_LOOK_AGAIN,
        database=database,
        metrics=metrics.events,
    )


@asynccontextmanager
async def deliver_in_background(*channels: ChannelDelivery | None) -> AsyncIterator[None]:
    """Delivers until the end of the block."""
    async with AsyncExitStack() as stack:
        for channel in channels:
            if channel:
                await stack.enter_async_context(channel.running())
        yield
