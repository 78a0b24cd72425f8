"""POST /signup and GET /signup/{id}, as a frontend meets them."""

import asyncio
import json
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import httpx
import pytest

from service.database.engine import Database
from service.settings import Settings
from tests.support.app import running
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.relay import ScriptedRelay

pytestmark = pytest.mark.shares_app

JSON = {"Content-Type": "application/json"}
ADA = {"email": "ada@example.com", "name": "Ada"}


async def test_a_signup_is_confirmed(client: httpx.AsyncClient) -> None:
    answer = await client.post("/signup", json={"email": "  Ada@Example.com ", "name": " Ada "})

    assert answer.status_code == 201
    body = answer.json()
    assert set(body) == {"id", "email", "name", "created_at", "welcome_email"}
    assert (body["email"], body["name"], body["welcome_email"]) == ("Ada@Example.com", "Ada", "pending")
    assert datetime.fromisoformat(body["created_at"]).utcoffset() is not None
    assert answer.headers["Location"] == f"/signup/{UUID(body['id'])}"


async def test_user_and_email_are_on_disk_when_the_answer_comes(
    client: httpx.AsyncClient, database: Database
) -> None:
    await client.post("/signup", json=ADA)

    assert len(await rows(database, "SELECT * FROM users")) == 1
    assert len(await rows(database, "SELECT * FROM outbox")) == 1


@pytest.mark.parametrize("name", [{}, {"name": None}, {"name": ""}, {"name": "   "}, {"name": "\t"}])
async def test_the_name_may_be_left_out(client: httpx.AsyncClient, name: dict[str, Any]) -> None:
    answer = await client.post("/signup", json={"email": "ada@example.com", **name})

    assert answer.status_code == 201
    assert answer.json()["name"] is None


@pytest.mark.parametrize(
    "again", ["ada@example.com", "ADA@example.com", "ada@EXAMPLE.COM ", "ada@ｅxample.com"]
)
async def test_any_spelling_of_an_address_signs_up_once_and_gets_one_mail(
    client: httpx.AsyncClient, relay: ScriptedRelay, again: str
) -> None:
    await client.post("/signup", json=ADA)
    await eventually(lambda: relay.accepted)

    answer = await client.post("/signup", json={"email": again})

    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/address-taken"
    await asyncio.sleep(0.1)
    assert len(relay.accepted) == 1


async def test_of_many_at_once_one_wins(client: httpx.AsyncClient, relay: ScriptedRelay) -> None:
    spellings = ["ada@example.com", "ADA@example.com", "Ada@Example.Com", "ada@example.COM"]

    answers = await asyncio.gather(*(client.post("/signup", json={"email": s}) for s in spellings * 10))

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 39
    await eventually(lambda: relay.accepted)
    assert len(relay.accepted) == 1


@pytest.mark.parametrize(
    ("body", "loc", "kind"),
    [
        ({}, ["body", "email"], "email_missing"),
        ({"email": None}, ["body", "email"], "email_missing"),
        ({"email": ""}, ["body", "email"], "email_missing"),
        ({"email": "  "}, ["body", "email"], "email_missing"),
        ({"email": 1}, ["body", "email"], "email_not_text"),
        ({"email": "nobody"}, ["body", "email"], "email_invalid"),
        ({"email": "x" * 255 + "@example.com"}, ["body", "email"], "email_too_long"),
        ({"email": "ada@exa\u3164mple.com"}, ["body", "email"], "email_invisible"),
        ({"email": "ada@example.internal"}, ["body", "email"], "email_undeliverable"),
        ({"email": "ada@example.com", "name": "\u200b\u200b"}, ["body", "name"], "name_invisible"),
        ({"email": "ada@example.com", "name": "\u3164"}, ["body", "name"], "name_invisible"),
        ({"email": "ada@example.com", "name": "Ada\n"}, ["body", "name"], "name_control_characters"),
        ({"email": "ada@example.com", "name": "a" + "\u0300" * 9}, ["body", "name"], "name_too_many_marks"),
        ({"email": "ada@example.com", "name": 7}, ["body", "name"], "name_not_text"),
        ({"email": "ada@example.com", "name": "x" * 101}, ["body", "name"], "name_too_long"),
        ({"email": "ada@example.com", "is_admin": True}, ["body"], "field_unknown"),
        ({"email": "ada@example.com", "id": "1"}, ["body"], "field_unknown"),
        ([], ["body"], "body_not_an_object"),
        ("text", ["body"], "body_not_an_object"),
        (None, ["body"], "body_not_an_object"),
    ],
)
async def test_values_that_cannot_be_accepted_are_named(
    client: httpx.AsyncClient, database: Database, body: Any, loc: list[str], kind: str
) -> None:
    answer = await client.post("/signup", content=json.dumps(body), headers=JSON)

    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == "/problems/invalid"
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert problem["instance"].startswith("urn:uuid:")
    [error] = problem["errors"]
    assert (error["loc"], error["type"]) == (loc, kind)
    assert await rows(database, "SELECT * FROM users") == []


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", JSON, 400),
        (b"", JSON, 422),
        (b"{'email': 1}", JSON, 400),
        (b'{"email": "ada@example.com"} trailing', JSON, 400),
        (b'{"email": "\xff@example.com"}', JSON, 400),
        (b"[" * 15_000, JSON, 400),
        (b'{"email": "a@example.com", "email": "b@example.com"}', JSON, 422),
        (b'{"email": "a@example.com", "name": NaN}', JSON, 422),
        (b'{"email": "a@example.com", "name": 1e400}', JSON, 422),
        (b'{"email": "a@example.com", "x": Infinity}', JSON, 422),
        (b'{"email": "a@example.com", "name": "a\\ud800b"}', JSON, 422),
        (b'{"email": "\\ud800@example.com"}', JSON, 422),
        (b'{"email": "a@example.com", "\\ud800": "\\ud800"}', JSON, 422),
        (b'{"email": "a@example.com", "name": "a\\u0000b"}', JSON, 422),
        (b'\xef\xbb\xbf{"email": "a@example.com"}', JSON, 201),
        (b'{"email": "a@example.com"}', {"Content-Type": "application/json; charset=latin1"}, 201),
        (b'{"email": "a@example.com"}', {"Content-Type": "text/plain"}, 415),
        (b'{"email": "a@example.com"}', {"Content-Type": "application/vnd.x+json"}, 415),
        (b'{"email": "a@example.com"}', {**JSON, "Content-Encoding": "gzip"}, 415),
        (b'{"email": "a@example.com"}', {}, 415),
        (b"x" * 16_385, JSON, 413),
        (b" " * 16_000 + b'{"email": "a@example.com"}', JSON, 201),
    ],
)
async def test_bodies_of_every_kind(
    client: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await client.post("/signup", content=content, headers=headers)

    assert answer.status_code == status
    assert len(answer.content) < 4096


@pytest.mark.parametrize(
    ("content", "errors"),
    [
        (b"", [(["body"], "body_missing")]),
        (b"[]", [(["body"], "body_not_an_object")]),
        (
            b'{"email": 1, "name": 1}',
            [(["body", "email"], "email_not_text"), (["body", "name"], "name_not_text")],
        ),
    ],
)
async def test_all_that_is_wrong_is_told_at_once_the_header_first(
    client: httpx.AsyncClient, content: bytes, errors: list[tuple[list[str], str]]
) -> None:
    answer = await client.post("/signup", content=content, headers={**JSON, "Idempotency-Key": "a b"})

    told = [(error["loc"], error["type"]) for error in answer.json()["errors"]]
    assert told == [(["header", "idempotency-key"], "idempotency_key_invalid"), *errors]


async def test_a_body_sent_in_pieces_is_bounded_too(client: httpx.AsyncClient) -> None:
    async def endless() -> Any:
        for _ in range(100):
            yield b" " * 1024

    answer = await client.post("/signup", content=endless(), headers=JSON)

    assert answer.status_code == 413
    assert answer.json()["type"] == "/problems/too-large"


async def test_the_state_of_the_mail_can_be_followed(client: httpx.AsyncClient, relay: ScriptedRelay) -> None:
    answer = await client.post("/signup", json=ADA)
    await eventually(lambda: relay.accepted)

    async def sent() -> bool:
        state = (await client.get(answer.headers["Location"])).json()
        assert set(state) == {"id", "welcome_email", "sent_at"}
        return state["welcome_email"] == "sent" and state["sent_at"] is not None

    await eventually(sent)


async def test_a_refused_mail_shows_as_failed(settings: Settings, relay: ScriptedRelay) -> None:
    relay.answers["rcpt"] = "550 no such user"
    async with running(settings) as live:
        answer = await live.client.post("/signup", json=ADA)

        async def failed() -> bool:
            state = (await live.client.get(answer.headers["Location"])).json()
            return bool(state["welcome_email"] == "failed" and state["sent_at"] is None)

        await eventually(failed)


@pytest.mark.parametrize("path", ["/signup/nobody", f"/signup/{UUID(int=0)}", "/signup/", "/nowhere"])
async def test_anything_else_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)

    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/not-found"


async def test_head_works_where_get_does(client: httpx.AsyncClient) -> None:
    location = (await client.post("/signup", json=ADA)).headers["Location"]

    for path in (location, "/healthz", "/readyz", "/metrics"):
        assert (await client.head(path)).status_code == 200


class TestIdempotency:
    KEY: ClassVar = {"Idempotency-Key": "4f1c"}

    async def test_the_same_key_and_body_replay_the_answer(
        self, client: httpx.AsyncClient, relay: ScriptedRelay
    ) -> None:
        first = await client.post("/signup", json=ADA, headers=self.KEY)
        again = await client.post("/signup", json=ADA, headers=self.KEY)

        assert (first.status_code, again.status_code) == (201, 201)
        assert first.json() == again.json()
        assert first.headers["Location"] == again.headers["Location"]
        await eventually(lambda: relay.accepted)
        await asyncio.sleep(0.1)
        assert len(relay.accepted) == 1

    async def test_at_the_same_time_too(self, client: httpx.AsyncClient) -> None:
        answers = await asyncio.gather(
            *(client.post("/signup", json=ADA, headers=self.KEY) for _ in range(10))
        )

        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["id"] for answer in answers}) == 1

    @pytest.mark.parametrize("other", [{"email": "grace@example.com"}, {**ADA, "name": "Grace"}])
    async def test_the_same_key_for_another_body_is_refused(
        self, client: httpx.AsyncClient, other: dict[str, str]
    ) -> None:
        await client.post("/signup", json=ADA, headers=self.KEY)

        answer = await client.post("/signup", json=other, headers=self.KEY)

        assert answer.status_code == 422
        assert answer.json()["type"] == "/problems/key-reused"

    async def test_only_a_confirmation_is_remembered(self, client: httpx.AsyncClient) -> None:
        await client.post("/signup", json=ADA)
        refused = await client.post("/signup", json=ADA, headers=self.KEY)

        answer = await client.post("/signup", json={"email": "grace@example.com"}, headers=self.KEY)

        assert refused.status_code == 409
        assert answer.status_code == 201

    @pytest.mark.parametrize("key", ["", "a b", "x" * 256, "grün", "\t"])
    async def test_a_key_that_is_none_is_refused(self, client: httpx.AsyncClient, key: str) -> None:
        answer = await client.post("/signup", json=ADA, headers=[(b"Idempotency-Key", key.encode())])

        assert answer.status_code == 422
        assert key == "" or key not in answer.text


class TestCors:
    FRONTEND: ClassVar = {"Origin": "https://app.example.com"}

    async def test_an_allowed_origin_may_read_the_answer_and_its_headers(
        self, client: httpx.AsyncClient
    ) -> None:
        answer = await client.post("/signup", json=ADA, headers=self.FRONTEND)

        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
        exposed = answer.headers["Access-Control-Expose-Headers"]
        assert {"Location", "Retry-After", "X-Request-ID"} <= {name.strip() for name in exposed.split(",")}

    async def test_an_allowed_origin_may_send_its_headers(self, client: httpx.AsyncClient) -> None:
        answer = await client.options(
            "/signup",
            headers=self.FRONTEND
            | {
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "content-type, idempotency-key, x-request-id",
            },
        )

        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.com"

    @pytest.mark.parametrize("origin", ["https://evil.example", "null"])
    async def test_a_foreign_origin_may_not(self, client: httpx.AsyncClient, origin: str) -> None:
        answer = await client.post("/signup", json=ADA, headers={"Origin": origin})

        assert "Access-Control-Allow-Origin" not in answer.headers

    @pytest.mark.parametrize("origin", ["https://anywhere.example", "null"])
    async def test_every_origin_may_if_all_are_allowed(self, settings: Settings, origin: str) -> None:
        async with running(settings.model_copy(update={"cors_origins": ("*",)})) as live:
            answer = await live.client.post("/signup", json=ADA, headers={"Origin": origin})

        assert answer.headers["Access-Control-Allow-Origin"] == "*"

    async def test_where_none_is_allowed_a_preflight_is_refused_and_no_answer_names_it(
        self, settings: Settings
    ) -> None:
        async with running(settings.model_copy(update={"cors_origins": ()})) as live:
            asked = await live.client.options(
                "/signup", headers=self.FRONTEND | {"Access-Control-Request-Method": "POST"}
            )
            answer = await live.client.post("/signup", json=ADA, headers=self.FRONTEND)

        assert (asked.status_code, asked.json()["type"]) == (400, "/problems/preflight-refused")
        assert answer.status_code == 201
        assert [name for name in answer.headers if "access-control" in name or name == "vary"] == []


async def test_while_the_relay_is_away_rows_are_left_to_the_worker(
    settings: Settings, database: Database, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.delivery.circuit_breaker.FIRST_PAUSE", 60)  # s; longer than the test
    await relay.stop()
    async with running(settings) as live:
        await live.client.post("/signup", json=ADA)
        await eventually(lambda: _paused(live.client))

        await live.client.post("/signup", json={"email": "grace@example.com"})

        [row] = await rows(database, "SELECT attempt FROM outbox WHERE recipient = 'grace@example.com'")
        assert row["attempt"] == 0


async def _paused(client: httpx.AsyncClient) -> bool:
    return "paused" in (await client.get("/readyz")).json()["relay"]
