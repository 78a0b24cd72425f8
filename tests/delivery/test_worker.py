"""The safety net: whatever was left over is found and sent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

import pytest
from structlog.testing import capture_logs

from service.database.engine import Database, DatabaseUnavailable, TransactionConflict
from service.delivery import circuit_breaker as window_module
from service.delivery import deliver as delivery_module
from service.delivery import suspicion
from service.delivery import worker as module
from service.delivery.assembly import MailDelivery
from service.outbox.row import LEASE, Email, lease_end
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.outbox import enqueue, enqueue_claimed, make_due
from tests.support.relay import Envelope, ScriptedRelay

Start = Callable[[], Awaitable[None]]


@pytest.fixture
async def start_worker(mailing: MailDelivery) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:
        yield lambda: stack.enter_async_context(mailing.worker.running())
        await mailing.delivery.drain()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(window_module, "MAX_PAUSE", 0.1)


async def test_one_round_claims_what_is_due_and_sends_it(
    mailing: MailDelivery, database: Database, relay: ScriptedRelay
) -> None:
    for number in range(3):
        await enqueue(database, name=f"user{number}")

    assert await mailing.worker.run_once() == 3

    await eventually(lambda: len(relay.accepted) == 3)
    assert await mailing.worker.run_once() == 0


async def test_what_a_dead_process_held_is_sent_when_its_lease_ends(
    mailing: MailDelivery, database: Database, relay: ScriptedRelay
) -> None:
    await enqueue_claimed(database)
    assert await mailing.worker.run_once() == 0

    await make_due(database)

    assert await mailing.worker.run_once() == 1
    await eventually(lambda: relay.recipients["ada@example.com"] == 1)


async def test_a_mail_that_finds_no_room_is_claimed_as_soon_as_there_is(
    mailing: MailDelivery,
    start_worker: Start,
    database: Database,
    relay: ScriptedRelay,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery_module, "MAX_IN_FLIGHT", 2)
    monkeypatch.setattr(module, "LOOK_EVERY", 60.0)
    relay.delays["dot"] = 0.1  # longer than a look
    for number in range(4):
        await enqueue(database, name=f"user{number}")

    await start_worker()

    await eventually(lambda: len(relay.accepted) == 4)


@pytest.mark.usefixtures("quick")
async def test_mails_wait_for_a_relay_that_is_down_and_go_when_it_appears(
    mailing: MailDelivery,
    start_worker: Start,
    database: Database,
    relay: ScriptedRelay,
) -> None:
    await relay.stop()
    for number in range(5):
        await enqueue(database, name=f"user{number}")
    await start_worker()
    await eventually(lambda: mailing.breaker.trouble)

    await relay.start()

    await eventually(lambda: len(relay.accepted) == 5, within=15)
    assert set(relay.recipients.values()) == {1}


@pytest.mark.usefixtures("quick")
async def test_after_trouble_the_relay_is_approached_with_one_connection(
    mailing: MailDelivery,
    start_worker: Start,
    database: Database,
    relay: ScriptedRelay,
) -> None:
    most_before_recovery = 0

    async def watch(stage: str, _: Envelope) -> None:
        nonlocal most_before_recovery
        if not relay.accepted:
            most_before_recovery = max(most_before_recovery, relay.connections)

    await relay.stop()
    mailing.breaker.pause("it was down")
    for number in range(30):
        await enqueue(database, name=f"user{number}")
    relay.on_stage = watch
    await relay.start()

    await start_worker()

    await eventually(lambda: len(relay.accepted) == 30, within=15)
    assert most_before_recovery == 1


@pytest.mark.usefixtures("quick")
async def test_mails_that_the_relay_never_takes_do_not_keep_others_waiting(
    mailing: MailDelivery,
    start_worker: Start,
    database: Database,
    relay: ScriptedRelay,
) -> None:
    relay.answers["rcpt"] = lambda envelope: (
        "554 5.7.1 not you" if envelope.recipient.startswith("never") else "250 2.1.5 ok"
    )
    for kind in ("never", "good"):
        for number in range(40):
            await enqueue(database, name=f"{kind}{number}")
    mailing.breaker.pause("it was down")
    await start_worker()

    await eventually(lambda: relay.accepted, within=20)

    assert relay.stages["rcpt"] < 40


async def test_held_mails_are_tried_again_as_soon_as_the_relay_takes_another(
    mailing: MailDelivery, database: Database, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suspicion, "_hold_seconds", lambda _: 60.0)
    relay.answers["rcpt"] = lambda envelope: (
        "554 5.7.1 not you" if envelope.recipient.startswith("never") else "250 2.1.5 ok"
    )
    never, good = [await enqueue_claimed(database, name=name) for name in ("never", "good")]
    await mailing.delivery.deliver(never)
    assert await mailing.worker.run_once() == 0

    await mailing.delivery.deliver(good)

    assert await mailing.worker.run_once() == 1

    async def has_failed() -> bool:
        return bool(await rows(database, "SELECT id FROM outbox WHERE status = 'failed'"))

    await eventually(has_failed)


@pytest.mark.usefixtures("quick")
async def test_what_is_past_its_time_is_given_up_while_the_relay_is_away(
    mailing: MailDelivery,
    start_worker: Start,
    database: Database,
    relay: ScriptedRelay,
) -> None:
    await relay.stop()
    for number in range(3):
        await enqueue(database, name=f"user{number}")
    async with database.transaction() as connection:
        await connection.exec_driver_sql("UPDATE outbox SET give_up_at = '2020-01-01 00:00:00'")
    await start_worker()

    async def given_up() -> bool:
        found = await rows(database, "SELECT status, last_reply FROM outbox")
        return all(row["status"] == "failed" and "Error connecting" in row["last_reply"] for row in found)

    await eventually(given_up, within=15)


async def test_a_slow_relay_does_not_look_like_a_dead_process(
    mailing: MailDelivery,
    start_worker: Start,
    database: Database,
    relay: ScriptedRelay,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RENEW_EVERY", 0.05)
    monkeypatch.setattr(module, "LOOK_EVERY", 60.0)
    may_answer = hold_the_dot(relay)
    await start_worker()
    email = await enqueue_claimed(database)
    delivery = asyncio.create_task(mailing.delivery.deliver(email))
    await eventually(lambda: relay.stages["dot"])

    await make_due(database)
    earliest = lease_end()  # of a renewal that begins only now
    await eventually(lambda: email.held_until > earliest)

    assert await mailing.worker.run_once() == 0
    may_answer.set()
    await delivery
    assert relay.recipients == {"ada@example.com": 1}


async def test_the_end_of_an_outage_is_logged_even_if_nothing_is_left_to_renew(
    mailing: MailDelivery,
    start_worker: Start,
    database: Database,
    relay: ScriptedRelay,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def renew(_: Sequence[Email]) -> None:
        raise DatabaseUnavailable("restarting")

    monkeypatch.setattr(module, "RENEW_EVERY", 0.02)
    monkeypatch.setattr(mailing.outbox, "renew", renew)
    may_answer = hold_the_dot(relay)
    with capture_logs() as lines:
        await start_worker()
        delivery = asyncio.create_task(mailing.delivery.deliver(await enqueue_claimed(database)))
        await eventually(lambda: "database.unavailable" in [line["event"] for line in lines])

        may_answer.set()
        await delivery

        await eventually(lambda: "database.available" in [line["event"] for line in lines])


async def test_a_connection_that_is_not_used_is_closed(
    mailing: MailDelivery,
    start_worker: Start,
    database: Database,
    relay: ScriptedRelay,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CLOSE_STALE_EVERY", 0.02)
    monkeypatch.setattr("service.mail.relay.IDLE_TIMEOUT", 0.0)
    await mailing.delivery.deliver(await enqueue_claimed(database))

    await start_worker()

    await eventually(lambda: relay.stages["quit"] == 1)


async def test_a_renewal_that_deadlocks_is_not_the_last(
    mailing: MailDelivery,
    start_worker: Start,
    database: Database,
    relay: ScriptedRelay,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RENEW_EVERY", 0.02)
    renew, troubles = mailing.outbox.renew, [TransactionConflict("40P01")] * 3

    async def renew_later(emails: Sequence[Email]) -> None:
        if troubles:
            raise troubles.pop()
        await renew(emails)

    monkeypatch.setattr(mailing.outbox, "renew", renew_later)
    may_answer = hold_the_dot(relay)
    email = await enqueue_claimed(database)
    await start_worker()
    delivery = asyncio.create_task(mailing.delivery.deliver(email))
    held_until = email.held_until

    await eventually(lambda: email.held_until > held_until)

    may_answer.set()
    await delivery


def hold_the_dot(relay: ScriptedRelay) -> asyncio.Event:
    """The relay does not answer the content until this is set."""
    may_answer = asyncio.Event()

    async def wait(stage: str, _: Envelope) -> None:
        if stage == "dot":
            await may_answer.wait()

    relay.on_stage = wait
    return may_answer


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "trouble", [DatabaseUnavailable("restarting"), TransactionConflict("40P01"), RuntimeError("a bug")]
)
async def test_the_worker_outlives_a_database_that_goes_away_and_a_round_that_breaks(
    mailing: MailDelivery,
    start_worker: Start,
    database: Database,
    relay: ScriptedRelay,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Exception,
) -> None:
    claim, troubles = mailing.outbox.claim, [trouble] * 3

    async def claim_later(limit: int, *, probing: bool) -> object:
        if troubles:
            raise troubles.pop()
        return await claim(limit, probing=probing)

    monkeypatch.setattr(mailing.outbox, "claim", claim_later)
    monkeypatch.setattr("service.runtime.background.PAUSE_AFTER_BUG", 0.05)
    await enqueue(database)

    await start_worker()

    await eventually(lambda: relay.accepted)


def test_a_claim_outlives_a_renewal_that_fails() -> None:
    assert LEASE.total_seconds() > 2 * module.RENEW_EVERY
