"""UNCONFIRMED_DAYS: who has not confirmed the address in time is forgotten, and nobody else."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from service.database.engine import Database
from service.database.models import USERS
from service.observability.metrics import Metrics
from service.outbox.events import Events
from service.settings import Confirmation, Settings
from service.signup.retention import Retention
from service.signup.users import Users
from tests.support.app import running, shows
from tests.support.confirmation import new_token, time_passes
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.relay import ScriptedRelay
from tests.support.users import numbered, store

MONTH = timedelta(days=30)


def retention(database: Database, *, wanted: bool = True) -> Retention:
    return Retention(
        database, events=Events(database) if wanted else None, keep=MONTH, metrics=Metrics(confirms=True)
    )


async def ask(database: Database, user_id: UUID, *, ago: timedelta, confirmed: bool = False) -> None:
    now = datetime.now(UTC)
    changes = {"confirmation_asked_at": now - ago, "confirmed_at": now if confirmed else None}
    async with database.transaction() as connection:
        await connection.execute(USERS.update().where(USERS.c.id == user_id).values(**changes))


async def test_the_long_unconfirmed_are_erased_and_nobody_else(database: Database) -> None:
    late, waiting, confirmed, never_asked = await store(database, *numbered(4))
    await ask(database, late, ago=MONTH + timedelta(minutes=1))
    await ask(database, waiting, ago=MONTH - timedelta(minutes=1))
    await ask(database, confirmed, ago=2 * MONTH, confirmed=True)

    assert await retention(database).erase_unconfirmed() == 1
    assert await retention(database).erase_unconfirmed() == 0

    stored = await rows(database, "SELECT id FROM users")
    assert {UUID(str(row["id"])) for row in stored} == {waiting, confirmed, never_asked}
    [event] = await rows(database, "SELECT kind, user_id, subject_id FROM outbox")
    assert (event["kind"], event["user_id"]) == ("user.erased", None)
    assert UUID(str(event["subject_id"])) == late


@pytest.mark.parametrize("wanted", [True, False])
async def test_in_batches(database: Database, monkeypatch: pytest.MonkeyPatch, wanted: bool) -> None:
    monkeypatch.setattr("service.database.batches.BATCH_SIZE", 2)
    monkeypatch.setattr("service.database.batches.PAUSE", 0)
    for user_id in await store(database, *numbered(5)):
        await ask(database, user_id, ago=2 * MONTH)

    assert await retention(database, wanted=wanted).erase_unconfirmed() == 5

    assert await rows(database, "SELECT id FROM users") == []
    assert len(await rows(database, "SELECT id FROM outbox")) == (5 if wanted else 0)


async def test_the_service_does_so_by_itself(
    settings: Settings, relay: ScriptedRelay, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.signup.retention.ERASE_EVERY", 0.05)
    async with running(settings.model_copy(update={"confirmation": Confirmation.LINK})) as live:
        await live.client.post("/signup", json={"email": "ada@example.com"})
        token = await new_token(relay)
        await time_passes(database, MONTH)

        async def is_erased() -> bool:
            return not await rows(database, "SELECT id FROM users")

        await eventually(is_erased)
        assert (await live.client.get(f"/confirm/{token}")).status_code == 404

        async def is_counted() -> bool:
            return await shows(live.client, 'confirmations_total{result="deleted"} 1.0')

        await eventually(is_counted)
        again = await live.client.post("/signup", json={"email": "ada@example.com"})
        assert again.status_code == 201


async def test_one_who_has_confirmed_is_not_erased_for_not_confirming(database: Database) -> None:
    confirmed, never_asked, waiting = await store(database, *numbered(3))
    await ask(database, confirmed, ago=MONTH, confirmed=True)
    await ask(database, waiting, ago=MONTH)
    users = Users(database, Events(database))

    erased = [await users.erase_unconfirmed(each) for each in (confirmed, never_asked, waiting, waiting)]

    assert erased == [False, False, True, False]
    assert len(await rows(database, "SELECT id FROM users")) == 2
    assert len(await rows(database, "SELECT id FROM outbox")) == 1
