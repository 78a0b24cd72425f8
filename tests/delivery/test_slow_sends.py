"""A send that takes long lets others go first, unless the relay may have its content."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest

from service.database.engine import Database
from service.delivery import slow_sends as module
from service.delivery import worker as worker_module
from service.delivery.assembly import MailDelivery
from service.observability.metrics import Metrics
from service.outbox.row import Email
from service.runtime.ids import new_id
from service.settings import Settings
from tests.support.database import rows
from tests.support.mail import row
from tests.support.outbox import enqueue
from tests.support.relay import Envelope, ScriptedRelay


@pytest.fixture
async def mailing(settings: Settings, database: Database, metrics: Metrics) -> AsyncIterator[MailDelivery]:
    mailing = MailDelivery.build(settings, database=database, metrics=metrics)
    yield mailing
    await mailing.relay.close()


async def test_a_mail_whose_content_the_relay_has_is_waited_for(
    mailing: MailDelivery, database: Database, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLOW", 0.3)
    monkeypatch.setattr(worker_module, "LOOK_EVERY", 0.05)

    async def think(stage: str, envelope: Envelope) -> None:
        if stage == "dot" and envelope.recipient.startswith("slow"):
            await asyncio.sleep(1)

    relay.on_stage = think
    await mailing.delivery.deliver(await claimed(database, "first"))
    await mailing.delivery.deliver(await claimed(database, "fast"))  # on a connection that is open
    slow = [await claimed(database, f"slow{number}") for number in range(11)]
    async with mailing.worker.running():
        await asyncio.gather(*(mailing.delivery.deliver(email) for email in slow))

    assert {found["status"] for found in await rows(database, "SELECT status FROM outbox")} == {"sent"}
    assert len(relay.accepted) == relay.stages["dot"] == 13


async def test_a_mail_whose_lease_ended_while_the_relay_was_slow_is_not_sent(
    mailing: MailDelivery, database: Database, relay: ScriptedRelay
) -> None:
    email = await claimed(database, "ada")

    async def end_lease(stage: str, _: Envelope) -> None:
        if stage == "rcpt":
            email.held_until = 0.0

    relay.on_stage = end_lease
    await mailing.delivery.deliver(email)

    assert (relay.stages["rcpt"], relay.stages["dot"]) == (1, 0)


@pytest.mark.parametrize(("factor", "is_cancelled"), [(0.9, False), (1.1, True)])
async def test_only_a_send_that_takes_long_is_cancelled(
    monkeypatch: pytest.MonkeyPatch, factor: float, is_cancelled: bool
) -> None:
    now = 1000.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    sends = module.SlowSends(2)
    fast, slow = (replace(row(), id=new_id()) for _ in range(2))
    async with sends.watch(fast):
        pass

    async def send() -> None:
        nonlocal now
        async with sends.watch(slow):
            now += factor * module.SLOW
            sends.cancel_long()
            await asyncio.sleep(0.01)

    with pytest.raises(module.SlowSendCancelled) if is_cancelled else nullcontext():
        await send()


async def claimed(database: Database, name: str) -> Email:
    email = await enqueue(database, claimed=True, name=name)
    assert email
    return email
