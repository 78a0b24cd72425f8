"""A send that takes long lets others go first, unless the relay may have its content."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.database.engine import Database
from service.delivery import slow_sends as module
from service.delivery import worker as worker_module
from service.delivery.assembly import DeliverySystem
from service.observability.metrics import Metrics
from service.settings import Settings
from tests.support.outbox import enqueue
from tests.support.relay import Envelope, ScriptedRelay


@pytest.fixture
async def mailing(settings: Settings, database: Database, metrics: Metrics) -> AsyncIterator[DeliverySystem]:
    mailing = DeliverySystem.build(settings, database=database, metrics=metrics)
    yield mailing
    await mailing.relay.close()


async def test_a_mail_whose_content_the_relay_has_is_waited_for(
    mailing: DeliverySystem, database: Database, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLOW", 0.1)
    monkeypatch.setattr(worker_module, "LOOK_EVERY", 0.05)

    async def think(stage: str, envelope: Envelope) -> None:
        if stage == "dot" and envelope.recipient.startswith("slow"):
            await asyncio.sleep(0.5)

    async def deliver(name: str) -> None:
        email = await enqueue(database, claimed=True, name=name)
        assert email
        await mailing.delivery.deliver(email)

    relay.on_stage = think
    await deliver("first")
    async with mailing.worker.running():
        await asyncio.gather(*(deliver(f"slow{number}") for number in range(11)))

    assert len(relay.accepted) == relay.stages["dot"] == 12
