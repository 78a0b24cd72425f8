"""From a claimed email to its recorded outcome, whatever lies between."""

import asyncio
from types import SimpleNamespace

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from service.database.email_status import EmailStatus
from service.database.engine import Database, DatabaseUnavailable
from service.delivery import deliver as module
from service.delivery import slow_sends as slow_module
from service.delivery.assembly import MailDelivery
from service.observability.metrics import Metrics
from service.outbox.repository import Outbox
from service.outbox.row import Email, Outcome
from service.settings import Settings
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.outbox import enqueue_claimed, make_due
from tests.support.relay import DROP, HANG, Envelope, ScriptedRelay


async def state(database: Database) -> tuple[str, str | None]:
    [row] = await rows(database, "SELECT status, last_reply FROM outbox")
    return row["status"], row["last_reply"]


async def test_a_delivered_email_is_sent(
    mailing: MailDelivery, database: Database, relay: ScriptedRelay
) -> None:
    await mailing.delivery.deliver(await enqueue_claimed(database))

    assert await state(database) == (EmailStatus.SENT, "250 2.0.0 queued")
    assert relay.recipients == {"ada@example.com": 1}


@pytest.mark.parametrize(
    ("stage", "reply", "status"),
    [
        ("dot", "250 OK", EmailStatus.SENT),
        ("dot", "252 OK, I think", EmailStatus.SENT),
        ("dot", "451 busy", EmailStatus.PENDING),
        ("rcpt", "550 no such user", EmailStatus.FAILED),
        ("rcpt", "450 mailbox busy", EmailStatus.PENDING),
        ("mail", "550 not you", EmailStatus.PENDING),
        ("greeting", "421 go away", EmailStatus.PENDING),
    ],
)
async def test_the_relays_reply_decides(
    mailing: MailDelivery,
    database: Database,
    relay: ScriptedRelay,
    stage: str,
    reply: str,
    status: EmailStatus,
) -> None:
    relay.answers[stage] = reply

    await mailing.delivery.deliver(await enqueue_claimed(database))

    assert await state(database) == (status, reply)


@pytest.mark.parametrize("reply", ["250 OK", "451 busy", "550 no such user", "421 go away", DROP])
async def test_each_log_line_joins_the_email_with_the_signup(
    mailing: MailDelivery, database: Database, relay: ScriptedRelay, reply: str
) -> None:
    relay.answers["dot"] = reply
    email = await enqueue_claimed(database)

    with capture_logs() as lines:
        await mailing.delivery.deliver(email)

    about_emails = [line for line in lines if line["event"].startswith("outbox.")]
    assert about_emails
    for line in about_emails:
        assert (line["email_id"], line["request_id"]) == (str(email.id), email.request_id)


async def test_only_the_relays_own_trouble_pauses_it(
    mailing: MailDelivery, database: Database, relay: ScriptedRelay
) -> None:
    for reply, paused in (("450 busy", False), ("550 unknown", False), ("421 closing", True)):
        relay.answers["rcpt"] = reply

        await mailing.delivery.deliver(await enqueue_claimed(database))

        assert bool(mailing.breaker.trouble) == paused


async def test_a_relay_that_takes_no_login_is_paused_for_long(
    settings: Settings, database: Database, metrics: Metrics, relay: ScriptedRelay
) -> None:
    relay.answers |= {"ehlo": "250-relay\r\n250 AUTH PLAIN", "auth": "535 5.7.8 wrong"}
    credentials = {"smtp_username": "ada", "smtp_password": SecretStr("swordfish")}
    mailing = MailDelivery.build(settings.model_copy(update=credentials), database=database, metrics=metrics)

    await mailing.delivery.deliver(await enqueue_claimed(database))

    assert mailing.breaker.pause_seconds > 25
    await mailing.relay.close()


async def test_the_relays_trouble_costs_the_email_nothing(
    mailing: MailDelivery, database: Database, relay: ScriptedRelay
) -> None:
    relay.answers["greeting"] = DROP

    await mailing.delivery.deliver(await enqueue_claimed(database))

    await make_due(database)
    [email] = await mailing.outbox.claim(1)
    assert email.deferrals == 0


async def test_while_the_relay_is_paused_emails_are_handed_back_unsent(
    mailing: MailDelivery, database: Database, relay: ScriptedRelay
) -> None:
    mailing.breaker.pause("421 closing", at_least=60)

    await mailing.delivery.deliver(await enqueue_claimed(database))

    assert relay.stages["greeting"] == 0
    assert len(await mailing.outbox.claim(1)) == 1
    assert mailing.delivery.capacity == 0


async def test_a_row_of_final_refusals_is_the_relays_fault(
    mailing: MailDelivery, database: Database, relay: ScriptedRelay
) -> None:
    relay.answers["rcpt"] = "550 no such user"

    for number in range(12):
        await mailing.delivery.deliver(await enqueue_claimed(database, name=f"user{number}"))

    counts = await rows(database, "SELECT status, count(*) AS many FROM outbox GROUP BY status")
    assert {row["status"]: row["many"] for row in counts} == {"failed": 10, "pending": 2}
    assert mailing.breaker.trouble
    assert mailing.delivery.capacity == module.MAX_IN_DOUBT


async def test_a_250_between_ends_the_row(
    mailing: MailDelivery, database: Database, relay: ScriptedRelay
) -> None:
    def refuse_most(envelope: Envelope) -> str:
        return "250 ok" if envelope.recipient.startswith("good") else "550 no such user"

    relay.answers["rcpt"] = refuse_most

    for number in range(24):
        name = f"good{number}" if number % 8 == 0 else f"bad{number}"
        await mailing.delivery.deliver(await enqueue_claimed(database, name=name))

    counts = await rows(database, "SELECT status, count(*) AS many FROM outbox GROUP BY status")
    assert {row["status"]: row["many"] for row in counts} == {"failed": 21, "sent": 3}


async def test_an_email_that_is_no_longer_held_is_left_alone(
    mailing: MailDelivery, database: Database, relay: ScriptedRelay
) -> None:
    email = await enqueue_claimed(database)
    email.held_until = 0.0

    await mailing.delivery.deliver(email)

    assert relay.stages["greeting"] == 0
    assert (await state(database))[0] == EmailStatus.PENDING


async def test_an_email_that_cannot_be_built_fails_at_once_with_the_reason(
    mailing: MailDelivery, database: Database, relay: ScriptedRelay
) -> None:
    email = await enqueue_claimed(database)
    email.recipient = "ada@exämple.com"

    await mailing.delivery.deliver(email)

    status, reason = await state(database)
    assert status == EmailStatus.FAILED
    assert reason
    assert "could not be built" in reason


async def test_a_bug_defers_the_email_and_goes_no_further(
    mailing: MailDelivery, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> str:
        raise RuntimeError("a bug")

    monkeypatch.setattr(mailing.relay, "send", broken)

    await mailing.delivery.deliver(await enqueue_claimed(database))

    status, _ = await state(database)
    assert status == EmailStatus.PENDING
    assert mailing.delivery.in_flight == []


async def test_an_unknown_outcome_is_counted_and_tried_again_with_the_same_message_id(
    mailing: MailDelivery, database: Database, relay: ScriptedRelay, metrics: Metrics
) -> None:
    relay.answers["dot"] = DROP
    await mailing.delivery.deliver(await enqueue_claimed(database))
    del relay.answers["dot"]
    await make_due(database)
    mailing.breaker.record_success()
    [email] = await mailing.outbox.claim(1)

    await mailing.delivery.deliver(email)

    assert email.deferrals == 1  # or it might be sent again without end
    assert metrics.shared.get_sample_value("welcome_emails_unknown_outcome_total") == 1
    assert relay.unanswered[0].message_id == relay.accepted[0].message_id


async def test_an_outcome_is_held_until_the_database_takes_it(
    mailing: MailDelivery, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECORD_AGAIN_AFTER", 0.01)
    away = DatabaseUnavailable("restarting")
    troubles = [away, away, away]
    record = Outbox.record

    async def record_later(outbox: Outbox, email: Email, outcome: Outcome) -> None:
        if troubles:
            assert mailing.delivery.capacity == 0 or len(troubles) == 3
            raise troubles.pop()
        await record(outbox, email, outcome)

    monkeypatch.setattr(Outbox, "record", record_later)

    await mailing.delivery.deliver(await enqueue_claimed(database))

    assert (await state(database))[0] == EmailStatus.SENT
    assert mailing.delivery.capacity > 0


async def test_draining_finishes_what_has_begun_and_hands_back_the_rest(
    settings: Settings, database: Database, metrics: Metrics, relay: ScriptedRelay
) -> None:
    one_at_a_time = settings.model_copy(update={"smtp_connections": 1})
    mailing = MailDelivery.build(one_at_a_time, database=database, metrics=metrics)
    relay.delays["dot"] = 0.2
    emails = [await enqueue_claimed(database, name=f"user{number}") for number in range(5)]
    deliveries = [asyncio.create_task(mailing.delivery.deliver(email)) for email in emails]
    await eventually(lambda: relay.stages["dot"])

    await mailing.delivery.drain()

    assert all(delivery.done() for delivery in deliveries)
    assert sum(relay.recipients.values()) == 1
    assert len(await mailing.outbox.claim(10)) == 4
    await mailing.relay.close()


async def test_draining_does_not_wait_for_ever(
    mailing: MailDelivery, database: Database, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DRAIN_SECONDS", 0.1)
    relay.answers["dot"] = HANG
    delivery = asyncio.create_task(mailing.delivery.deliver(await enqueue_claimed(database)))
    await eventually(lambda: relay.stages["dot"])

    async with asyncio.timeout(30):
        await mailing.delivery.drain()

    assert not delivery.done()
    delivery.cancel()
    await asyncio.gather(delivery, return_exceptions=True)


async def test_recipients_that_the_relay_is_slow_with_keep_nobody_waiting(
    mailing: MailDelivery, database: Database, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(slow_module, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(module, "SLOW_AGAIN_AFTER", 0.1)
    has_thought = asyncio.Event()

    async def think(stage: str, envelope: Envelope) -> None:
        if stage == "rcpt" and envelope.recipient.startswith("slow"):
            await has_thought.wait()

    relay.on_stage = think
    await mailing.delivery.deliver(await enqueue_claimed(database, name="first"))
    async with mailing.worker.running():
        slow = [await enqueue_claimed(database, name=f"slow{number}") for number in range(12)]
        deliveries = [asyncio.create_task(mailing.delivery.deliver(email)) for email in slow]
        await eventually(lambda: relay.stages["rcpt"] == 11)
        now += 1.5 * slow_module.SLOW

        async with asyncio.timeout(15):
            await mailing.delivery.deliver(await enqueue_claimed(database, name="fast"))

        assert relay.recipients["fast@example.com"] == 1
        has_thought.set()
        await asyncio.gather(*deliveries)
        await eventually(lambda: len(relay.accepted) == 14, within=60)
        assert set(relay.recipients.values()) == {1}


async def test_a_relay_that_is_slow_with_all_is_waited_for(
    mailing: MailDelivery, database: Database, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_module, "SLOW", 0.1)
    relay.delays["rcpt"] = 0.7
    async with mailing.worker.running():
        await asyncio.gather(
            *[
                mailing.delivery.deliver(await enqueue_claimed(database, name=f"user{number}"))
                for number in range(12)
            ]
        )

        assert len(relay.accepted) == relay.stages["rcpt"] == 12
