"""A send that takes long lets others go first, unless the relay may have its content."""

import asyncio
import math
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest

from service.database.engine import Database
from service.delivery import slow_sends as module
from service.delivery.assembly import MailDelivery
from service.runtime.ids import new_id
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.mail import row
from tests.support.outbox import enqueue_claimed
from tests.support.relay import Envelope, ScriptedRelay


async def test_a_mail_whose_content_the_relay_has_is_waited_for(
    mailing: MailDelivery, database: Database, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    has_thought = asyncio.Event()

    async def think(stage: str, envelope: Envelope) -> None:
        if stage == "dot" and envelope.recipient.startswith("slow"):
            await has_thought.wait()

    relay.on_stage = think
    await mailing.delivery.deliver(await enqueue_claimed(database, name="fast"))
    slow = [await enqueue_claimed(database, name=f"slow{number}") for number in range(11)]
    deliveries = [asyncio.create_task(mailing.delivery.deliver(email)) for email in slow]
    await eventually(lambda: relay.stages["dot"] == 11)
    assert mailing.breaker.has_queue
    now += 1.5 * module.SLOW

    assert await mailing.worker.run_once() == 0

    has_thought.set()
    await asyncio.gather(*deliveries)
    assert {found["status"] for found in await rows(database, "SELECT status FROM outbox")} == {"sent"}
    assert len(relay.accepted) == relay.stages["dot"] == 12


async def test_a_mail_whose_lease_ended_while_the_relay_was_slow_is_not_sent(
    mailing: MailDelivery, database: Database, relay: ScriptedRelay
) -> None:
    email = await enqueue_claimed(database, name="ada")

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


async def test_a_send_that_is_cancelled_in_the_moment_of_its_content_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    sends = module.SlowSends(2)
    fast, slow = (replace(row(), id=new_id(), held_until=math.inf) for _ in range(2))
    async with sends.watch(fast):
        pass

    async with sends.watch(slow) as may_send:
        now += 1.1 * module.SLOW
        sends.cancel_long()
        assert may_send()
        await asyncio.sleep(0.01)  # for the relay's reply to the content
