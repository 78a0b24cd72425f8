"""CONFIRMATION=link: from a signup over its link to the welcome mail."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from pydantic import SecretStr

from service.app import create_app
from service.database.engine import Database
from service.limits.per_mailbox import MailboxLimit
from service.person.address import parse
from service.settings import Confirmation, DuplicatePolicy, Settings
from service.settings.rate import Rate
from tests.support.app import running, shows
from tests.support.confirmation import new_token, text, time_passes, tokens, welcomed
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.outbox import make_due
from tests.support.page import Page
from tests.support.receiver import SECRET, Receiver
from tests.support.relay import ScriptedRelay

ADA = {"email": "Ada@example.com", "name": "Ada"}
BROWSER = {"Accept": "text/html"}
MINUTE, WEEK = timedelta(minutes=1), timedelta(days=7)
FORGED = "0" * 64


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"confirmation": Confirmation.LINK})


@pytest.fixture
async def receiver(settings: Settings) -> AsyncIterator[Receiver]:
    receiver = await Receiver.started()
    yield receiver
    await receiver.stop()


def with_events(settings: Settings, receiver: Receiver) -> Settings:
    events = {"webhook_url": receiver.url, "webhook_secret": SecretStr(SECRET)}
    return settings.model_copy(update=events)


async def sign_up(client: httpx.AsyncClient, **fields: object) -> httpx.Response:
    return await client.post("/signup", json={**ADA, **fields})


class TestTheStory:
    async def test_the_welcome_mail_follows_the_click(
        self, client: httpx.AsyncClient, relay: ScriptedRelay, database: Database
    ) -> None:
        signup = await sign_up(client)
        assert signup.status_code == 201
        user = signup.json()
        assert (user["welcome_email"], user["confirmation_email"]) == ("after_confirmation", "pending")
        token = await new_token(relay)
        [mail] = relay.accepted
        assert mail.recipient == "Ada@example.com"
        assert mail.message["Subject"] == "Confirm your email address for Analytical Engines"
        assert f"\nhttps://engines.example.com/confirm/{token}\n" in text(mail)

        link = await client.get(f"/confirm/{token}")
        assert link.json().keys() == {"id", "confirmed_at", "expires_at"}
        assert (link.json()["id"], link.json()["confirmed_at"]) == (user["id"], None)
        assert datetime.fromisoformat(link.json()["expires_at"]) > datetime.fromisoformat(user["created_at"])
        assert len(relay.accepted) == 1

        confirmed = await client.post(f"/confirm/{token}")

        assert confirmed.status_code == 200
        assert confirmed.json().keys() == {"id", "confirmed_at"}
        assert confirmed.json()["id"] == user["id"]
        await eventually(lambda: welcomed(relay) == ["Ada@example.com"])
        assert "Hello Ada," in text(relay.accepted[-1])
        [stored] = await rows(database, "SELECT confirmed_at FROM users")
        assert stored["confirmed_at"]

    @pytest.mark.parametrize("clicks", [2, 50])
    async def test_any_number_of_clicks_is_one(
        self,
        settings: Settings,
        relay: ScriptedRelay,
        receiver: Receiver,
        database: Database,
        clicks: int,
    ) -> None:
        async with running(with_events(settings, receiver)) as one, running(settings) as other:
            await sign_up(one.client)
            token = await new_token(relay)

            answers = await asyncio.gather(
                *((one, other)[n % 2].client.post(f"/confirm/{token}") for n in range(clicks))
            )
            again = await one.client.post(f"/confirm/{token}")

            assert {answer.status_code for answer in answers} == {200}
            assert len({answer.text for answer in [*answers, again]}) == 1
            await eventually(lambda: welcomed(relay))
            await eventually(lambda: _has_no_pending(database))
        assert welcomed(relay) == ["Ada@example.com"]

    async def test_the_system_behind_hears_of_it(
        self, settings: Settings, relay: ScriptedRelay, receiver: Receiver
    ) -> None:
        async with running(with_events(settings, receiver)) as live:
            user = (await sign_up(live.client)).json()
            await eventually(lambda: receiver.events("user.created"))
            token = await new_token(relay)
            confirmed = (await live.client.post(f"/confirm/{token}")).json()
            await live.client.post(f"/confirm/{token}")
            await eventually(lambda: receiver.events("user.confirmed"))

        [created] = receiver.events("user.created")
        assert (created["data"]["id"], created["data"]["confirmed_at"]) == (user["id"], None)
        [event] = receiver.events("user.confirmed")
        assert event["data"].keys() == created["data"].keys()
        assert event["data"]["confirmed_at"] == confirmed["confirmed_at"]

    async def test_a_link_expires(
        self, client: httpx.AsyncClient, relay: ScriptedRelay, database: Database
    ) -> None:
        await sign_up(client)
        token = await new_token(relay)
        await time_passes(database, WEEK - MINUTE)
        assert (await client.get(f"/confirm/{token}")).status_code == 200

        await time_passes(database, MINUTE)

        for ask in (
            client.get(f"/confirm/{token}"),
            client.post(f"/confirm/{token}"),
            client.post(f"/confirm/{token}/deny"),
        ):
            answer = await ask
            assert (answer.status_code, answer.json()["type"]) == (410, "/problems/link-expired")
        [user] = await rows(database, "SELECT confirmed_at FROM users")
        assert user["confirmed_at"] is None


@pytest.mark.parametrize("engine_name", ["sqlite"])
class TestAnswers:
    async def test_polling_tells_how_far_it_is(self, client: httpx.AsyncClient, relay: ScriptedRelay) -> None:
        path = f"/signup/{(await sign_up(client)).json()['id']}"
        token = await new_token(relay)

        async def state(**expected: object) -> bool:
            found = (await client.get(path)).json()
            return all(found[name] == value for name, value in expected.items())

        await eventually(lambda: state(confirmation_email="sent"))
        assert await state(welcome_email="after_confirmation", sent_at=None, confirmed_at=None)
        confirmed = (await client.post(f"/confirm/{token}")).json()
        await eventually(lambda: state(welcome_email="sent", confirmed_at=confirmed["confirmed_at"]))
        assert (await client.get(path)).json()["sent_at"]

    async def test_the_language_of_the_signup_is_that_of_both_mails(
        self, client: httpx.AsyncClient, relay: ScriptedRelay
    ) -> None:
        await client.post("/signup", json=ADA, headers={"Accept-Language": "de"})
        token = await new_token(relay)
        await client.post(f"/confirm/{token}", headers={"Accept-Language": "en"})

        await eventually(lambda: len(relay.accepted) == 2)
        assert [text(mail).split("\n")[0] for mail in relay.accepted] == ["Hallo Ada,"] * 2

    async def test_a_confirmation_mail_that_fails_is_told_as_such(
        self, settings: Settings, relay: ScriptedRelay, receiver: Receiver
    ) -> None:
        relay.answers["rcpt"] = "550 5.1.1 no such user"
        async with running(with_events(settings, receiver)) as live:
            path = f"/signup/{(await sign_up(live.client)).json()['id']}"
            await eventually(lambda: receiver.events("email.failed"))
            state = (await live.client.get(path)).json()

        assert receiver.events("email.failed")[0]["data"]["kind"] == "confirmation"
        assert (state["confirmation_email"], state["welcome_email"]) == ("failed", "after_confirmation")

    async def test_the_body_of_a_click_is_ignored(
        self, client: httpx.AsyncClient, relay: ScriptedRelay
    ) -> None:
        await sign_up(client)
        token = await new_token(relay)

        for body in (b"{", b"x" * 100_000):
            headers = {"Content-Type": "application/json"}
            answer = await client.post(f"/confirm/{token}", content=body, headers=headers)
            assert answer.status_code == 200

    async def test_looking_changes_nothing(
        self, client: httpx.AsyncClient, relay: ScriptedRelay, database: Database
    ) -> None:
        await sign_up(client)
        token = await new_token(relay)
        before = await rows(database, "SELECT * FROM users")

        for ask in (client.get, client.head):
            for headers in ({}, BROWSER):
                assert (await ask(f"/confirm/{token}", headers=headers)).status_code == 200

        assert await rows(database, "SELECT * FROM users") == before

    async def test_apps_on_other_origins_may_ask(
        self, client: httpx.AsyncClient, relay: ScriptedRelay
    ) -> None:
        await sign_up(client)
        token = await new_token(relay)
        app = {"Origin": "https://app.example.com"}

        for answer in (
            await client.get(f"/confirm/{token}", headers=app),
            await client.post(f"/confirm/{token}", headers=app),
            await client.post(f"/confirm/{FORGED}", headers=app),
        ):
            assert answer.headers["Access-Control-Allow-Origin"] == app["Origin"]
            assert answer.headers["Cache-Control"] == "no-store"

    async def test_a_repeat_with_its_key_gets_the_same_answer_and_no_mail(
        self, client: httpx.AsyncClient, relay: ScriptedRelay, database: Database
    ) -> None:
        key = {"Idempotency-Key": "4f1c"}
        first = await client.post("/signup", json=ADA, headers=key)
        token = await new_token(relay)
        await time_passes(database, MINUTE)
        before = await client.post("/signup", json=ADA, headers=key)
        await client.post(f"/confirm/{token}")
        after = await client.post("/signup", json=ADA, headers=key)

        assert [first.status_code, before.status_code, after.status_code] == [201] * 3
        assert first.json() == before.json() == after.json()
        assert len(tokens(relay)) == 1

    async def test_everything_is_counted(
        self, client: httpx.AsyncClient, relay: ScriptedRelay, database: Database
    ) -> None:
        await sign_up(client)
        token = await new_token(relay)
        await client.get(f"/confirm/{FORGED}")
        await sign_up(client)
        await client.post(f"/confirm/{token}")
        await client.post(f"/confirm/{token}")

        for line in (
            'confirmations_total{result="confirmed"} 1.0',
            'confirmations_total{result="unknown"} 1.0',
            'confirmations_total{result="renewed"} 0.0',
            'signups_total{result="unconfirmed"} 1.0',
        ):
            await eventually(partial(shows, client, line))


@pytest.mark.parametrize("engine_name", ["sqlite"])
class TestLinks:
    async def test_what_is_not_a_link_of_ours_is_not_found(
        self, client: httpx.AsyncClient, relay: ScriptedRelay
    ) -> None:
        user = (await sign_up(client)).json()
        token = await new_token(relay)
        others = {
            FORGED,
            token[:-1],
            token + "0",
            token.upper(),
            token[:32],
            token[:-1] + ("0" if token[-1] != "0" else "1"),
            uuid4().hex + token[32:],
            user["id"],
            "ada@example.com",
            "%00",
            "x" * 10_000,
        } - {token}

        for other in others:
            for ask in (
                client.get(f"/confirm/{other}"),
                client.post(f"/confirm/{other}"),
                client.post(f"/confirm/{other}/deny"),
            ):
                answer = await ask
                assert (answer.status_code, answer.json()["type"]) == (404, "/problems/link-unknown"), other
                assert answer.json()["detail"].startswith("This link doesn't work.")

    async def test_a_link_of_an_erased_user_is_not_found(
        self, client: httpx.AsyncClient, relay: ScriptedRelay, database: Database
    ) -> None:
        await sign_up(client)
        token = await new_token(relay)
        async with database.transaction() as connection:
            await connection.exec_driver_sql("DELETE FROM users")

        for ask in (client.get(f"/confirm/{token}"), client.post(f"/confirm/{token}")):
            assert (await ask).json()["type"] == "/problems/link-unknown"

    async def test_a_forged_link_asks_the_database_the_same(
        self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So that time does not tell the one from the other."""
        asked: list[object] = []
        original = Database.read_only

        def read_only(self: Database, **options: Any) -> Any:
            asked.append(options)
            return original(self, **options)

        await client.get(f"/confirm/{FORGED}")  # reads the key
        monkeypatch.setattr(Database, "read_only", read_only)
        for token in (FORGED, "short", uuid4().hex):
            asked.clear()
            await client.post(f"/confirm/{token}")
            assert len(asked) == 1

    @pytest.mark.parametrize("key", ["", "swordfish-swordfish"])
    async def test_every_process_knows_the_links_of_every_other(
        self, settings: Settings, relay: ScriptedRelay, key: str
    ) -> None:
        settings = settings.model_copy(update={"link_key": SecretStr(key)})
        async with running(settings) as one:
            await sign_up(one.client)
            token = await new_token(relay)
        async with running(settings) as other:
            assert (await other.client.get(f"/confirm/{token}")).status_code == 200
        async with running(settings.model_copy(update={"link_key": SecretStr("x" * 16)})) as stranger:
            assert (await stranger.client.get(f"/confirm/{token}")).status_code == 404

    async def test_who_has_confirmed_stays_so_when_the_link_would_have_expired(
        self, client: httpx.AsyncClient, relay: ScriptedRelay, database: Database
    ) -> None:
        await sign_up(client)
        token = await new_token(relay)
        first = await client.post(f"/confirm/{token}")

        await time_passes(database, 2 * WEEK)

        assert (await client.post(f"/confirm/{token}")).json() == first.json()
        assert (await client.get(f"/confirm/{token}")).json()["confirmed_at"] == first.json()["confirmed_at"]


class TestRepeats:
    async def test_the_link_is_sent_again_as_another_mail(
        self, client: httpx.AsyncClient, relay: ScriptedRelay, database: Database
    ) -> None:
        await sign_up(client)
        token = await new_token(relay)
        await time_passes(database, 2 * WEEK)

        again = await sign_up(client, email="ADA@example.com", name="Eve")

        assert (again.status_code, again.json()["type"]) == (409, "/problems/unconfirmed")
        assert again.json()["detail"].endswith("We've sent you the link again.")
        assert "Retry-After" not in again.headers
        assert await new_token(relay, count=2) == token
        first, second = (mail.message_id for mail in relay.accepted)
        assert second == first.replace("@", ".1@")
        assert "Hello Ada," in text(relay.accepted[1])
        assert (await client.post(f"/confirm/{token}")).status_code == 200

    async def test_at_most_once_a_minute(
        self, client: httpx.AsyncClient, relay: ScriptedRelay, database: Database
    ) -> None:
        await sign_up(client)
        await new_token(relay)

        at_once = await sign_up(client)
        await time_passes(database, MINUTE)
        answers = await asyncio.gather(*(sign_up(client) for _ in range(10)))

        assert at_once.json()["type"] == "/problems/unconfirmed"
        assert "sent you the link again" not in at_once.json()["detail"]
        assert 0 < int(at_once.headers["Retry-After"]) <= 60
        said = [answer.json()["detail"] for answer in answers if "Retry-After" not in answer.headers]
        # Those of one transaction get one answer.
        assert said
        assert all(detail.endswith("We've sent you the link again.") for detail in said)
        await new_token(relay, count=2)
        [row] = await rows(database, "SELECT renewals FROM outbox")
        assert row["renewals"] == 1

    async def test_within_the_limit_of_the_mailbox(
        self, settings: Settings, relay: ScriptedRelay, database: Database
    ) -> None:
        limited = settings.model_copy(update={"mailbox_rate_limit": Rate(3, timedelta(days=1))})
        details = []
        async with running(limited) as live:
            for mails in 1, 2, 3, 3:
                answer = await sign_up(live.client)
                details.append(answer.json().get("detail", "new"))
                await new_token(relay, count=mails)  # or this and the next one would be one mail
                await time_passes(database, MINUTE)
            tagged = await sign_up(live.client, email="ada+tag@example.com")
            other = await sign_up(live.client, email="grace@example.com")
            await new_token(relay, count=4)

        assert details[0] == "new"
        assert ["again" in detail for detail in details[1:]] == [True, True, True]
        assert ["sent you the link again" in detail for detail in details[1:]] == [True, True, False]
        assert int(answer.headers["Retry-After"]) > 60 or "moment" in details[-1]
        assert (tagged.status_code, other.status_code) == (429, 201)
        assert int(tagged.headers["Retry-After"]) > 0
        [count] = await rows(database, "SELECT scope, count FROM rate_counts")
        assert count["count"] == 2
        assert "ada" not in count["scope"]

    async def test_after_confirming_the_address_is_taken(
        self, client: httpx.AsyncClient, relay: ScriptedRelay, database: Database
    ) -> None:
        await sign_up(client)
        token = await new_token(relay)
        await client.post(f"/confirm/{token}")
        await time_passes(database, WEEK)

        again = await sign_up(client)

        assert again.json()["type"] == "/problems/address-taken"
        [user] = await rows(database, "SELECT confirmed_at FROM users")
        assert user["confirmed_at"]

    async def test_users_from_before_the_switch_are_taken_and_welcome(
        self, settings: Settings, relay: ScriptedRelay
    ) -> None:
        key = {"Idempotency-Key": "4f1c"}
        async with running(settings.model_copy(update={"confirmation": Confirmation.OFF})) as off:
            user = (await off.client.post("/signup", json=ADA, headers=key)).json()
            await eventually(lambda: welcomed(relay))
        async with running(settings) as live:
            again = await sign_up(live.client)
            state = (await live.client.get(f"/signup/{user['id']}")).json()
            repeated = await live.client.post("/signup", json=ADA, headers=key)

        assert again.json()["type"] == "/problems/address-taken"
        assert (state["welcome_email"], state["confirmation_email"]) == ("sent", None)
        assert repeated.json() == {**user, "confirmation_email": None}

    async def test_after_the_switch_back_links_end_and_nobody_is_deleted(
        self, settings: Settings, relay: ScriptedRelay, database: Database
    ) -> None:
        async with running(settings) as live:
            user = (await sign_up(live.client)).json()
            token = await new_token(relay)
            await eventually(lambda: _has_no_pending(database))
            relay.answers["rcpt"] = "451 later"
            await sign_up(live.client, email="grace@example.com")
            await eventually(lambda: relay.stages["rcpt"] == 2)
        relay.answers.clear()
        await time_passes(database, 52 * WEEK)
        await make_due(database)

        async with running(settings.model_copy(update={"confirmation": Confirmation.OFF})) as off:
            asked = [
                await off.client.post(f"/confirm/{token}"),
                await off.client.get(f"/signup/{user['id']}"),
            ]
            await new_token(relay, count=2)

        assert [answer.status_code for answer in asked] == [404, 404]
        assert welcomed(relay) == []
        assert len(await rows(database, "SELECT id FROM users")) == 2

    async def test_a_mail_that_failed_is_tried_again(
        self, client: httpx.AsyncClient, relay: ScriptedRelay, database: Database
    ) -> None:
        relay.answers["rcpt"] = "550 5.1.1 no such user"
        await sign_up(client)

        async def failed() -> bool:
            return bool(await rows(database, "SELECT id FROM outbox WHERE status = 'failed'"))

        await eventually(failed)
        relay.answers.clear()
        await time_passes(database, MINUTE)

        await sign_up(client)

        await new_token(relay)


@pytest.mark.parametrize("engine_name", ["postgresql"])
@pytest.mark.parametrize("policy", DuplicatePolicy)
async def test_a_repeat_that_waits_for_its_mailbox_keeps_nobody_waiting(
    settings: Settings, database: Database, relay: ScriptedRelay, policy: DuplicatePolicy
) -> None:
    """Locks are taken in one order, mailboxes first: otherwise two signups could wait for each other."""
    limit = MailboxLimit(Rate(5, timedelta(hours=1)), database=database, renews=True)
    async with running(settings.model_copy(update={"duplicate_policy": policy})) as live:
        await sign_up(live.client)
        await new_token(relay)
        await time_passes(database, MINUTE)
        async with database.transaction() as connection:
            await limit.lock(connection, [parse("ada@example.com")])
            again = asyncio.create_task(sign_up(live.client))
            await eventually(lambda: rows(database, "SELECT 1 FROM pg_locks WHERE NOT granted"))
            await connection.exec_driver_sql("SELECT id FROM users FOR UPDATE NOWAIT")

        assert (await again).status_code in (202, 409)
        await new_token(relay, count=2)


class TestUniform:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"duplicate_policy": DuplicatePolicy.UNIFORM})

    async def test_new_waiting_and_confirmed_addresses_get_the_same(
        self, client: httpx.AsyncClient, relay: ScriptedRelay, database: Database
    ) -> None:
        new = await sign_up(client)
        token = await new_token(relay)
        too_soon = await sign_up(client)
        await time_passes(database, MINUTE)
        waiting = await sign_up(client)
        await new_token(relay, count=2)
        await client.post(f"/confirm/{token}")
        await time_passes(database, MINUTE)
        confirmed = await sign_up(client)

        answers = [new, too_soon, waiting, confirmed]
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.text for answer in answers}) == 1
        assert "a link to confirm it" in new.json()["message"]
        assert len({len(answer.headers) for answer in answers}) == 1
        await eventually(lambda: welcomed(relay))
        assert len(tokens(relay)) == 2
        assert len(await rows(database, "SELECT id FROM users")) == 1

    async def test_a_repeat_leaves_nothing_but_the_renewal(
        self, client: httpx.AsyncClient, relay: ScriptedRelay, database: Database
    ) -> None:
        await sign_up(client)
        await new_token(relay)
        await time_passes(database, MINUTE)

        await sign_up(client, name="Eve")

        assert len(await rows(database, "SELECT id FROM users")) == 1
        [row] = await rows(database, "SELECT name, renewals FROM outbox")
        assert tuple(row.values()) == ("Ada", 1)

    async def test_nobody_sees_what_became_of_a_signup(
        self, client: httpx.AsyncClient, database: Database
    ) -> None:
        await sign_up(client)
        [user] = await rows(database, "SELECT id FROM users")

        assert (await client.get(f"/signup/{UUID(str(user['id']))}")).status_code == 404


class TestDenying:
    async def test_the_user_is_erased(
        self, settings: Settings, relay: ScriptedRelay, receiver: Receiver, database: Database
    ) -> None:
        async with running(with_events(settings, receiver)) as live:
            user = (await sign_up(live.client)).json()
            await eventually(lambda: receiver.events("user.created"))
            token = await new_token(relay)

            denied = await live.client.post(f"/confirm/{token}/deny")
            again = await live.client.post(f"/confirm/{token}/deny")

            assert (denied.status_code, denied.json()) == (200, {"id": user["id"]})
            assert again.json()["type"] == "/problems/link-unknown"
            await eventually(lambda: receiver.events("user.erased"))
        assert receiver.events("user.erased")[0]["data"] == {"id": user["id"]}
        assert await rows(database, "SELECT id FROM users") == []
        assert await rows(database, "SELECT id FROM outbox WHERE channel = 'mail'") == []

    async def test_not_after_confirming(
        self, client: httpx.AsyncClient, relay: ScriptedRelay, database: Database
    ) -> None:
        await sign_up(client)
        token = await new_token(relay)
        await client.post(f"/confirm/{token}")

        denied = await client.post(f"/confirm/{token}/deny")

        assert (denied.status_code, denied.json()["type"]) == (409, "/problems/already-confirmed")
        assert len(await rows(database, "SELECT id FROM users")) == 1

    async def test_a_click_on_each_button_at_once_leaves_one_result(
        self, client: httpx.AsyncClient, relay: ScriptedRelay, database: Database
    ) -> None:
        await sign_up(client)
        token = await new_token(relay)

        answers = await asyncio.gather(
            client.post(f"/confirm/{token}"), client.post(f"/confirm/{token}/deny")
        )

        users = await rows(database, "SELECT confirmed_at FROM users")
        statuses = tuple(answer.status_code for answer in answers)
        assert (statuses, len(users)) in [((200, 409), 1), ((404, 200), 0)]
        assert all(user["confirmed_at"] for user in users)


@pytest.mark.parametrize("engine_name", ["sqlite"])
class TestPages:
    async def test_a_browser_gets_two_buttons_and_then_the_end_of_the_story(
        self, client: httpx.AsyncClient, relay: ScriptedRelay
    ) -> None:
        client.headers.update(BROWSER)
        await client.post("/signup", json=ADA)
        token = await new_token(relay)

        answer = await client.get(f"/confirm/{token}")
        page = Page(answer.text)
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Cache-Control"] == "no-store"
        assert page.one("form") == {"method": "post", "action": f"/confirm/{token}"}
        buttons = page.all("button")
        assert [button.get("formaction") for button in buttons] == [None, f"/confirm/{token}/deny"]
        assert page.all("script") == []
        assert "ada@" not in answer.text.lower()

        confirmed = await client.post(f"/confirm/{token}")
        assert (confirmed.status_code, confirmed.headers["Location"]) == (303, f"/confirm/{token}")
        done = Page((await client.get(f"/confirm/{token}")).text)
        assert done.says("Your address is confirmed.")
        assert done.all("form") == []

        denied = await client.post(f"/confirm/{token}/deny")
        assert denied.status_code == 409
        refusal = "This address has been confirmed, so the link can no longer remove it."
        assert Page(denied.text).says(f"{refusal} Please write to us to have it removed.")

    async def test_denied_and_opened_again(self, client: httpx.AsyncClient, relay: ScriptedRelay) -> None:
        client.headers.update(BROWSER)
        await client.post("/signup", json=ADA)
        token = await new_token(relay)

        denied = await client.post(f"/confirm/{token}/deny")
        reopened = await client.get(f"/confirm/{token}/deny", follow_redirects=True)

        assert denied.status_code == 200
        assert Page(denied.text).says("Your address is deleted.")
        assert reopened.status_code == 404
        assert Page(reopened.text).says("This link doesn't work.")

    async def test_an_expired_link_has_the_form_which_sends_it_again(
        self, client: httpx.AsyncClient, relay: ScriptedRelay, database: Database
    ) -> None:
        client.headers.update(BROWSER)
        await client.post("/signup", json=ADA)
        token = await new_token(relay)
        await time_passes(database, WEEK)

        expired = await client.post(f"/confirm/{token}")
        form = Page(expired.text)
        assert expired.status_code == 410
        assert form.says("This link has expired.")
        assert form.one("form")["action"] == "/signup"
        assert form.one("input")["name"] == "email"

        again = await client.post("/signup", data={"email": "ada@example.com"})
        soon = await client.post("/signup", data={"email": "ada@example.com"})

        assert again.status_code == soon.status_code == 409
        assert Page(again.text).says("Check your inbox.")
        assert Page(again.text).says("We've sent you the link again.")
        assert Page(soon.text).says("Please try again in a minute.")
        await new_token(relay, count=2)

    async def test_confirmed_url_is_where_a_browser_is_sent(
        self, settings: Settings, relay: ScriptedRelay
    ) -> None:
        url = "https://app.example.com/start?confirmed"
        async with running(settings.model_copy(update={"confirmed_url": url})) as live:
            await sign_up(live.client)
            token = await new_token(relay)
            page = await live.client.get(f"/confirm/{token}", headers=BROWSER)
            confirmed = await live.client.post(f"/confirm/{token}", headers=BROWSER)
            program = await live.client.post(f"/confirm/{token}")

        assert "form-action 'self' http: https:;" in page.headers["Content-Security-Policy"]
        assert (confirmed.status_code, confirmed.headers["Location"]) == (303, url)
        assert program.status_code == 200

    async def test_behind_a_path_prefix(self, settings: Settings, relay: ScriptedRelay) -> None:
        prefixed = settings.model_copy(update={"public_url": "https://example.com/join"})
        async with running(prefixed) as live:
            await sign_up(live.client)
            token = await new_token(relay)
            page = Page((await live.client.get(f"/confirm/{token}", headers=BROWSER)).text)
            confirmed = await live.client.post(f"/confirm/{token}", headers=BROWSER)

        assert f"https://example.com/join/confirm/{token}" in text(relay.accepted[0])
        assert page.one("form")["action"] == f"/join/confirm/{token}"
        assert confirmed.headers["Location"] == f"/join/confirm/{token}"

    async def test_they_are_in_the_language_of_the_browser(
        self, client: httpx.AsyncClient, relay: ScriptedRelay
    ) -> None:
        await sign_up(client)
        token = await new_token(relay)

        answer = await client.get(f"/confirm/{token}", headers={**BROWSER, "Accept-Language": "de"})
        problem = await client.get(f"/confirm/{FORGED}", headers={"Accept-Language": "de"})

        assert Page(answer.text).says("E-Mail-Adresse bestätigen")
        assert problem.json()["detail"].startswith("Dieser Link funktioniert nicht.")

    async def test_without_the_database_the_buttons_are_there_for_another_try(
        self, client: httpx.AsyncClient, relay: ScriptedRelay, database: Database
    ) -> None:
        await sign_up(client)
        token = await new_token(relay)
        await eventually(lambda: _has_no_pending(database))
        async with database.transaction() as connection:
            await connection.exec_driver_sql("ALTER TABLE users RENAME TO elsewhere")

        page = await client.post(f"/confirm/{token}", headers=BROWSER)
        problem = await client.post(f"/confirm/{token}")

        assert page.status_code == problem.status_code == 503
        assert page.headers["Retry-After"] == problem.headers["Retry-After"] == "2"
        assert Page(page.text).says("We can't store anything right now.")
        assert len(Page(page.text).all("button")) == 2
        assert problem.json()["type"] == "/problems/unavailable"

    async def test_the_page_after_the_form_is_about_the_link_until_it_is_used(
        self, client: httpx.AsyncClient, relay: ScriptedRelay
    ) -> None:
        client.headers.update(BROWSER)
        form = Page((await client.get("/")).text)
        neutral = Page((await client.get("/welcome")).text)
        path = (await client.post("/signup", data=ADA)).headers["Location"]
        token = await new_token(relay)

        async def says(sentence: str) -> bool:
            return Page((await client.get(path)).text).says(sentence)

        assert form.says("we'll send you a link to confirm it.")
        assert neutral.says("an email with a link to confirm it is on its way.")
        await eventually(lambda: says("Please open the link in it to confirm your address."))
        await client.post(f"/confirm/{token}")
        await eventually(lambda: says("Your welcome email has been sent."))

    async def test_a_broken_template_is_named_at_the_start(self, settings: Settings, tmp_path: Path) -> None:
        for name in ("page.confirm.html", "confirm.txt"):
            folder = tmp_path / name
            folder.mkdir()
            (folder / name).write_text("{{ lnk }}")
            with pytest.raises(Exception, match=rf"TEMPLATES_DIR: .*{name}, line 1, .*'lnk' is undefined"):
                create_app(settings.model_copy(update={"templates_dir": folder}))


async def _has_no_pending(database: Database) -> bool:
    return not await rows(database, "SELECT id FROM outbox WHERE status = 'pending'")
