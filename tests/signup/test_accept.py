"""Who gets a page, and who gets JSON: whoever names text/html is a person."""

from functools import partial
from typing import Any

import httpx
import pytest

from service.database.engine import Database, DatabaseUnavailable
from service.database.group_commit import Overloaded
from service.settings import Settings
from service.settings.rate import Rate
from service.signup.registration import Registration
from tests.support.app import running, shows
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.page import Page

pytestmark = pytest.mark.shares_app

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}
ADA = {"email": "ada@example.com", "name": "Ada"}
PROBLEM = "application/problem+json"
PEOPLE = [
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
    "TEXT/HTML ; q=0.5",
    "application/json, text/html",
]
PROGRAMS = [
    "*/*",
    "application/json",
    "application/json, text/plain, */*",
    "text/*",
    "text/html;q=0, */*",
    "text/html; q=0.0",
    "application/xhtml+xml",
    "x/text/html",
    "",
]


@pytest.mark.parametrize("accept", PROGRAMS)
async def test_a_program_may_send_a_form_and_gets_json(client: httpx.AsyncClient, accept: str) -> None:
    client.headers["Accept"] = accept

    created = await client.post("/signup", data=ADA)
    taken = await client.post("/signup", data=ADA)
    invalid = await client.post("/signup", data={"email": "nobody"})

    assert (created.status_code, created.json()["email"]) == (201, "ada@example.com")
    assert created.headers["Location"] == f"/signup/{created.json()['id']}"
    assert (taken.status_code, taken.json()["type"]) == (409, "/problems/address-taken")
    assert [error["type"] for error in invalid.json()["errors"]] == ["email_invalid"]
    assert {taken.headers["Content-Type"], invalid.headers["Content-Type"]} == {PROBLEM}


@pytest.mark.parametrize("accept", PEOPLE)
async def test_a_person_gets_pages(client: httpx.AsyncClient, accept: str) -> None:
    client.headers["Accept"] = accept

    created = await client.post("/signup", data=ADA)
    taken = await client.post("/signup", data=ADA)

    assert created.status_code == 303
    assert (taken.status_code, taken.headers["Content-Type"]) == (409, "text/html; charset=utf-8")


@pytest.mark.parametrize("accept", PEOPLE)
async def test_json_gets_json_whoever_sends_it(client: httpx.AsyncClient, accept: str) -> None:
    client.headers["Accept"] = accept

    created = await client.post("/signup", json=ADA)
    taken = await client.post("/signup", json=ADA)

    assert (created.status_code, created.headers["Content-Type"]) == (201, "application/json")
    assert (taken.status_code, taken.headers["Content-Type"]) == (409, PROBLEM)


async def test_a_program_may_repeat_a_form_by_key(client: httpx.AsyncClient) -> None:
    by_header = [
        await client.post("/signup", data=ADA, headers={"Idempotency-Key": "4f1c"}) for _ in range(2)
    ]
    by_field = [
        await client.post("/signup", data={"email": "grace@example.com", "idempotency_key": "4f1c"})
        for _ in range(2)
    ]

    for first, again in (by_header, by_field):
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.json() == again.json()


@pytest.mark.parametrize("accept", [*PEOPLE[:1], *PROGRAMS[:2]])
async def test_a_multipart_form_is_refused_with_what_to_send_instead(
    client: httpx.AsyncClient, accept: str
) -> None:
    answer = await client.post("/signup", content=b"--x--", headers={**MULTIPART, "Accept": accept})

    assert answer.status_code == 415
    assert answer.headers["Content-Type"] == ("text/html; charset=utf-8" if "html" in accept else PROBLEM)
    assert "multipart/form-data" in answer.text
    assert "application/x-www-form-urlencoded" in answer.text


async def test_json_sent_as_a_form_is_told_its_type(client: httpx.AsyncClient) -> None:
    answer = await client.post("/signup", content=b' {"email": "ada@example.com"}', headers=FORM)

    assert (answer.status_code, answer.headers["Content-Type"]) == (415, PROBLEM)
    assert "Content-Type: application/json" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ({}, "The Content-Type is missing."),
        ({"Content-Type": "text/plain"}, "Please send application/json"),
        ({"Content-Type": "application/json", "Content-Encoding": "utf-8"}, "No Content-Encoding"),
        ({"Content-Type": "text/plain", "Content-Encoding": "gzip"}, "No Content-Encoding"),
    ],
)
async def test_415_names_its_cause(client: httpx.AsyncClient, headers: dict[str, str], detail: str) -> None:
    answer = await client.post("/signup", content=b"{}", headers=headers)

    assert answer.status_code == 415
    assert detail in answer.json()["detail"]
    assert answer.headers.get("Accept-Encoding") == ("identity" if "Content-Encoding" in headers else None)


@pytest.mark.parametrize("headers", [{"Content-Type": "application/json"}, FORM])
async def test_400_names_utf_8(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await client.post(
        "/signup",
        content='{"email": "ada@example.com", "name": "Zoë"}'.encode("latin-1")
        if "json" in headers["Content-Type"]
        else b"email=ada@example.com&name=Zo%EB",
        headers=headers,
    )

    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/unparsable")
    assert "UTF-8" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("accept", "status", "to"), [(PEOPLE[0], 303, "/"), (PROGRAMS[0], 405, None), (PROGRAMS[1], 405, None)]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_address_of_the_form_leads_a_person_to_it(
    client: httpx.AsyncClient, method: str, accept: str, status: int, to: str | None
) -> None:
    answer = await client.request(method, "/signup", headers={"Accept": accept})

    assert (answer.status_code, answer.headers.get("Location")) == (status, to)
    assert answer.headers.get("Allow") == (None if to else "POST")


@pytest.mark.parametrize("path", ["/nope", "/signup/nobody", "/signup/"])
async def test_a_person_who_is_lost_gets_a_page(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path, headers={"Accept": PEOPLE[0], "Accept-Language": "de"})

    assert (answer.status_code, answer.headers["Content-Language"]) == (404, "de")
    page = Page(answer.text)
    assert page.says("Seite nicht gefunden")
    assert page.one("a")["href"] == "/"
    assert answer.headers["Content-Security-Policy"]


class TestTrap:
    @pytest.mark.parametrize("website", ["", None])
    async def test_is_ignored_while_it_is_empty(self, client: httpx.AsyncClient, website: str | None) -> None:
        answer = await client.post("/signup", json={**ADA, "website": website})

        assert answer.status_code == 201

    @pytest.mark.parametrize("send", ["json", "data"])
    @pytest.mark.parametrize("fields", [{**ADA, "website": "https://evil.com"}, {"website": "x"}])
    async def test_accepts_a_bot_and_stores_nothing(
        self, settings: Settings, database: Database, send: str, fields: dict[str, str]
    ) -> None:
        async with running(settings) as live:
            answer = await live.client.post("/signup", **{send: fields})  # type: ignore[arg-type]  # one of two
            await eventually(lambda: shows(live.client, 'signups_total{result="trapped"} 1.0'))

        assert answer.status_code == 202
        assert set(answer.json()) == {"message"}
        for table in ("users", "outbox"):
            assert await rows(database, f"SELECT * FROM {table}") == []

    async def test_leaves_a_line_in_the_log(
        self, client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
    ) -> None:
        answer = await client.post("/signup", json={**ADA, "website": "x"})

        logged = capsys.readouterr().out
        assert "signup.trapped" in logged
        assert answer.headers["X-Request-ID"] in logged


JSON_TYPE = {"Content-Type": "application/json"}


@pytest.mark.parametrize("engine_name", ["sqlite"])
@pytest.mark.parametrize(
    ("changes", "request_", "result"),
    [
        ({}, {"content": b"{", "headers": JSON_TYPE}, "unparsable"),
        ({}, {"content": b"email=a", "headers": {**FORM, "Origin": "https://evil.com"}}, "foreign-form"),
        ({}, {"content": b" " * 20_000, "headers": JSON_TYPE}, "too-large"),
        ({}, {"content": b"{}", "headers": {"Content-Type": "text/plain"}}, "unsupported-media-type"),
        ({}, {"json": {}}, "invalid"),
        ({}, {"data": {}, "headers": {**FORM, "Accept": "text/html"}}, "invalid"),
        ({"signups_paused": True}, {"json": ADA}, "paused"),
    ],
)
async def test_every_refusal_is_counted_by_its_type(
    settings: Settings, changes: dict[str, Any], request_: dict[str, Any], result: str
) -> None:
    async with running(settings.model_copy(update=changes)) as live:
        answer = await live.client.post("/signup", **request_)
        await eventually(lambda: shows(live.client, f'signups_total{{result="{result}"}} 1.0'))

    assert answer.status_code >= 400


async def test_so_is_what_is_refused_after_the_body_and_what_fails(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise errors.pop()

    limited = settings.model_copy(
        update={"mailbox_rate_limit": Rate.parse("1/day"), "signup_rate_limit": Rate.parse("7/day")}
    )
    async with running(limited) as live:
        sign_up = partial(live.client.post, "/signup", headers={"Idempotency-Key": "4f1c"})
        answers = [
            await sign_up(json=ADA),
            await sign_up(json={**ADA, "name": "Grace"}),
            await live.client.post("/signup", json=ADA),
            await live.client.post("/signup", json={"email": "ada+1@example.com"}),
        ]
        errors = [RuntimeError("a bug"), Overloaded(), DatabaseUnavailable("away")]
        monkeypatch.setattr(Registration, "register", fail)
        answers += [await live.client.post("/signup", json=ADA) for _ in range(4)]
        results = [
            "registered",
            *(answer.json()["type"].removeprefix("/problems/") for answer in answers[1:]),
        ]
        for result in results:
            line = f'signups_total{{result="{result}"}} 1.0'
            await eventually(partial(shows, live.client, line))

    assert results[1:] == [
        *("key-reused", "address-taken", "mailbox-rate-limited"),
        *("unavailable", "overloaded", "internal", "rate-limited"),
    ]


@pytest.mark.parametrize("engine_name", ["sqlite"])
class TestLanguage:
    async def test_errors_are_in_the_language_of_whoever_asks(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/signup", json={"email": "nobody"}, headers={"Accept-Language": "de_DE"})

        problem = answer.json()
        assert answer.headers["Content-Language"] == "de"
        assert problem["type"] == "/problems/invalid"
        assert problem["detail"].startswith("Einige Werte wurden nicht angenommen.")
        [error] = problem["errors"]
        assert error["type"] == "email_invalid"
        assert (
            error["msg"] == "Bitte geben Sie eine gültige E-Mail-Adresse ein, zum Beispiel ada@example.com."
        )

    async def test_so_is_the_answer_that_says_nothing_about_the_address(
        self, client: httpx.AsyncClient
    ) -> None:
        answer = await client.post("/signup", json={**ADA, "website": "x"}, headers={"Accept-Language": "de"})

        assert answer.headers["Content-Language"] == "de"
        assert answer.json() == {
            "message": "Falls wir diese Adresse noch nicht kannten, ist Ihre Willkommensmail unterwegs."
        }

    async def test_it_says_when_to_try_again(self, settings: Settings) -> None:
        async with running(settings.model_copy(update={"signups_paused": True})) as live:
            english, german = [
                (await live.client.post("/signup", json=ADA, headers={"Accept-Language": language})).json()
                for language in ("en", "de-CH")
            ]

        assert english["detail"] == "Signups are paused at the moment. Please try again in 5 minutes."
        assert german["detail"].endswith("Bitte versuchen Sie es in 5 Minuten noch einmal.")
