"""From a signup to the system behind."""

import json
import math
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from service.database.engine import Database
from service.database.models import OUTBOX
from service.delivery.assembly import build_event_delivery, deliver_in_background
from service.observability.metrics import Metrics
from service.outbox.admin import OutboxAdmin, Selection
from service.outbox.events import Events
from service.settings import DuplicatePolicy, Settings
from service.signup.users import Users
from tests.support.app import running, shows
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.receiver import Answer, Received, Receiver
from tests.support.relay import ScriptedRelay

ADA = {"email": "Ada@example.com", "name": "Ada 🎉"}
BRIEFLY = timedelta(milliseconds=10)
USER_FIELDS = {"id", "email", "name", "locale", "created_at", "confirmed_at"}


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(settings) as live:
        yield live.client


async def only(receiver: Receiver, kind: str) -> dict[str, Any]:
    """The event of this type, once it has been taken."""
    await eventually(lambda: receiver.events(kind))
    [event] = receiver.events(kind)
    return event


async def test_a_signup_is_handed_on(
    client: httpx.AsyncClient, receiver: Receiver, database: Database
) -> None:
    user = (await client.post("/signup", json=ADA, headers={"Accept-Language": "de"})).json()

    event = await only(receiver, "user.created")
    assert event == {
        "type": "user.created",
        "timestamp": user["created_at"],
        "data": {
            "id": user["id"],
            "email": "Ada@example.com",
            "name": "Ada 🎉",
            "locale": "de",
            "created_at": user["created_at"],
            "confirmed_at": None,
        },
    }
    [row] = await rows(database, "SELECT id FROM outbox WHERE channel = 'webhook'")
    assert str(row["id"]).replace("-", "") == receiver.taken[0].id.replace("-", "")


async def test_a_known_address_is_no_event(
    client: httpx.AsyncClient, receiver: Receiver, database: Database
) -> None:
    statuses = [(await client.post("/signup", json=ADA)).status_code for _ in range(2)]

    assert statuses == [201, 409]
    await only(receiver, "user.created")
    assert len(await rows(database, "SELECT * FROM outbox WHERE channel = 'webhook'")) == 1


async def test_with_uniform_answers_only_a_new_address_is_one(
    settings: Settings, receiver: Receiver, database: Database
) -> None:
    uniform = settings.model_copy(update={"duplicate_policy": DuplicatePolicy.UNIFORM})
    async with running(uniform) as live:
        statuses = [(await live.client.post("/signup", json=ADA)).status_code for _ in range(2)]
        await only(receiver, "user.created")

    assert statuses == [202, 202]
    assert len(await rows(database, "SELECT * FROM outbox WHERE channel = 'webhook'")) == 1


async def test_an_email_that_fails_is_told_with_the_reason(
    client: httpx.AsyncClient, receiver: Receiver, relay: ScriptedRelay
) -> None:
    relay.answers["rcpt"] = "550 5.1.1 no such user"

    user = (await client.post("/signup", json=ADA)).json()

    event = await only(receiver, "email.failed")
    assert event["data"].keys() == USER_FIELDS | {"kind", "reason"}
    assert (event["data"]["id"], event["data"]["kind"]) == (user["id"], "welcome")
    assert event["data"]["reason"] == "550 5.1.1 no such user"
    assert datetime.fromisoformat(event["timestamp"])


async def test_an_email_that_an_operator_drops_or_that_waited_too_long_has_failed_too(
    settings: Settings, receiver: Receiver, relay: ScriptedRelay, database: Database
) -> None:
    await relay.stop()
    admin = OutboxAdmin(database, Events.from_settings(settings, database=database))
    async with running(settings) as live:
        for name in ("ada", "grace"):
            await live.client.post("/signup", json={"email": f"{name}@example.com"})
        assert [count async for count in admin.drop(Selection(address="ada@example.com"))] == [{"mail": 1}]
        async with database.transaction() as connection:
            moment = OUTBOX.c.created_at
            await connection.execute(OUTBOX.update().values(give_up_at=moment, due_at=moment))
        await eventually(lambda: len(receiver.events("email.failed")) == 2)

    reasons = {event["data"]["email"]: event["data"]["reason"] for event in receiver.events("email.failed")}
    assert reasons["ada@example.com"] == "Dropped by an operator."
    assert "Error connecting" in reasons["grace@example.com"]


async def test_an_erased_user_is_told_by_the_id_alone_and_nothing_else_of_them_is_sent(
    settings: Settings, receiver: Receiver, database: Database
) -> None:
    without_worker = settings.model_copy(update={"worker": False})
    async with running(without_worker) as live:
        user = (await live.client.post("/signup", json=ADA)).json()
    events = Events.from_settings(settings, database=database)

    await Users(database, events).erase("ada@example.com")

    [row] = await rows(database, "SELECT * FROM outbox")
    words = [value for name, value in row.items() if not name.endswith("id")]  # whose hex digits may be "ada"
    assert "ada" not in str(words).lower()
    async with running(settings):
        event = await only(receiver, "user.erased")
    assert event["data"] == {"id": user["id"]}
    assert [received.event["type"] for received in receiver.requests] == ["user.erased"]


async def test_without_an_endpoint_no_event_is_written(settings: Settings, database: Database) -> None:
    nowhere = settings.model_copy(update={"webhook_url": ""})
    async with running(nowhere) as live:
        await live.client.post("/signup", json=ADA)
        readiness = (await live.client.get("/readyz")).json()
    await Users(database, Events.from_settings(nowhere, database=database)).erase("ada@example.com")

    assert readiness["webhook"] == "off"
    assert await rows(database, "SELECT * FROM outbox") == []


async def test_every_try_has_the_same_id_and_the_time_of_the_event(
    settings: Settings, receiver: Receiver, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.outbox.row.BACKOFF", (BRIEFLY,))
    refused = 2
    receiver.answer = lambda _: 500 if len(receiver.requests) <= refused else 200

    async with running(settings) as live:
        await live.client.post("/signup", json=ADA)
        await only(receiver, "user.created")

    assert len(receiver.requests) == refused + 1
    assert len({received.id for received in receiver.requests}) == 1
    assert len({received.body for received in receiver.requests}) == 1


@pytest.mark.parametrize("status", [400, 503])
async def test_an_event_waits_as_long_as_the_endpoint_asks_in_whichever_process(
    settings: Settings, receiver: Receiver, database: Database, status: int
) -> None:
    receiver.answer = status, {"Retry-After": "7200"}, b""

    async def waits_so_long() -> bool:
        async with database.read_only() as connection:
            found = select(OUTBOX.c.due_at, OUTBOX.c.created_at, OUTBOX.c.last_reply)
            row = (await connection.execute(found.where(OUTBOX.c.channel == "webhook"))).one()
        return bool(row.last_reply) and row.due_at - row.created_at >= timedelta(hours=2)

    async with running(settings) as live:
        await live.client.post("/signup", json=ADA)
        await eventually(waits_so_long, within=10)


async def test_one_event_that_is_always_refused_pauses_nobody(
    settings: Settings, receiver: Receiver, database: Database
) -> None:
    def refuse_poison(received: Received) -> int:
        return 500 if received.event["data"]["email"].startswith("poison") else 200

    receiver.answer = refuse_poison
    async with running(settings) as live:
        for number in range(6):
            name = "poison" if number == 2 else f"user{number}"
            await live.client.post("/signup", json={"email": f"{name}@example.com"})
        await eventually(lambda: len(receiver.taken) == 5)
        assert (await live.client.get("/readyz")).json()["webhook"] == "ok"

        async def deferred() -> bool:
            found = await rows(database, "SELECT last_reply, deferrals FROM outbox WHERE status = 'pending'")
            return [(row["last_reply"], row["deferrals"] >= 1) for row in found] == [("500 x", True)]

        await eventually(deferred)


async def test_an_endpoint_that_is_away_is_named_and_events_come_when_it_is_back(
    settings: Settings, receiver: Receiver, relay: ScriptedRelay
) -> None:
    await receiver.stop()
    async with running(settings) as live:
        await live.client.post("/signup", json=ADA)
        await eventually(lambda: relay.accepted)

        async def is_named() -> bool:
            answer = await live.client.get("/readyz")
            assert answer.status_code == 200
            return bool(answer.json()["webhook"].startswith("paused: 127.0.0.1:"))

        await eventually(is_named)
        assert await shows(live.client, "webhook_paused 1.0")
        assert await shows(live.client, "webhook_events_pending 1.0")
        assert await shows(live.client, "relay_paused 0.0")
        await receiver.start()
        await only(receiver, "user.created")


async def test_410_pauses_it_until_a_restart(settings: Settings, receiver: Receiver) -> None:
    receiver.answer = 410
    async with running(settings) as live:
        await live.client.post("/signup", json=ADA)

        async def is_named() -> bool:
            return (
                "(410 x): none is sent until the service is restarted"
                in (await live.client.get("/readyz")).json()["webhook"]
            )

        await eventually(is_named)
        asked = len(receiver.requests)
        receiver.answer = 200
        await live.client.post("/signup", json={"email": "grace@example.com"})
        assert (await live.client.get("/readyz")).status_code == 200
    assert len(receiver.requests) == asked

    async with running(settings):
        await eventually(lambda: len(receiver.events("user.created")) == 2)


async def test_410_pauses_it_for_as_long_as_the_process_lives(
    settings: Settings, receiver: Receiver, database: Database, metrics: Metrics
) -> None:
    receiver.answer = 410
    async with running(settings.model_copy(update={"worker": False})) as live:
        await live.client.post("/signup", json=ADA)
    events = build_event_delivery(settings, database=database, metrics=metrics)
    assert events

    async with deliver_in_background(events):
        await eventually(lambda: events.breaker.trouble)
        assert events.breaker.pause_seconds == math.inf


async def test_the_log_has_no_word_of_a_person(settings: Settings, receiver: Receiver) -> None:

    def refuse(_: Received) -> Answer:
        return (500, {}, b"no ada@example.com") if len(receiver.requests) < 2 else 302

    receiver.answer = refuse
    with capture_logs() as lines:
        async with running(settings) as live:
            await live.client.post("/signup", json={"email": "ada@example.com", "name": "Lovelace"})
            await live.client.post("/signup", json={"email": "grace@example.com", "name": "Hopper"})
            await eventually(lambda: len(receiver.requests) >= 2)

    text = json.dumps(lines, default=str).lower()
    assert "event_id" in text
    for personal in ("ada@", "grace@", "lovelace", "hopper"):
        assert personal not in text
