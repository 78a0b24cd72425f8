"""The HTML form: pages for a person's browser, JSON for a program that sends the same."""

import asyncio
import re
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr

from service.database.engine import Database
from service.settings import Settings
from service.settings.rate import Rate
from service.signup.handler import SignupHandler
from tests.support.app import running
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.page import Page
from tests.support.relay import ScriptedRelay

pytestmark = pytest.mark.shares_app

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
FORM = {"Content-Type": "application/x-www-form-urlencoded", **BROWSER}
ADA = {"email": "ada@example.com", "name": "Ada", "website": ""}
ONCE = Rate.parse("1/day")
HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture
def engine_name() -> str:
    """Whatever a form holds is handed to the database as that of JSON is, which is tested on both."""
    return "sqlite"


@pytest.fixture
def client(client: httpx.AsyncClient) -> httpx.AsyncClient:
    client.headers.update(BROWSER)
    return client


async def test_a_form_signs_up_and_leads_to_the_welcome_page(
    client: httpx.AsyncClient, database: Database, relay: ScriptedRelay
) -> None:
    answer = await client.post("/signup", data=ADA)

    assert answer.status_code == 303
    path, _, user_id = answer.headers["Location"].rpartition("/")
    assert path == "/welcome"
    [user] = await rows(database, "SELECT id, email, name FROM users")
    assert (UUID(str(user["id"])), user["email"], user["name"]) == (UUID(user_id), "ada@example.com", "Ada")
    await eventually(lambda: relay.recipients["ada@example.com"] == 1)


@pytest.mark.parametrize(
    ("body", "email", "name"),
    [
        ("email=ada%40example.com", "ada@example.com", None),
        ("email=ada@example.com&name=", "ada@example.com", None),
        ("name=Ada+Lovelace&email=+ada%40example.com+", "ada@example.com", "Ada Lovelace"),
        (f"email=ada@example.com&name={quote('田中太郎')}", "ada@example.com", "田中太郎"),
        (f"email={quote('ada@münchen.de')}&name=%26%3D%25", "ada@münchen.de", "&=%"),
        ("email=ada%2Btag@example.com&website=", "ada+tag@example.com", None),
        ("email=ada@example.com&name=+++", "ada@example.com", None),
        ("&email=ada@example.com&&", "ada@example.com", None),
        ("email=ada@example.com&name", "ada@example.com", None),
        ("email=ada@example.com&name=Zo\u00eb", "ada@example.com", "Zo\u00eb"),
        ("email=ada@example.com&name=100%", "ada@example.com", "100%"),
    ],
)
async def test_forms_that_are_taken(
    client: httpx.AsyncClient, database: Database, body: str, email: str, name: str | None
) -> None:
    answer = await client.post("/signup", content=body, headers=FORM)

    assert answer.status_code == 303
    [user] = await rows(database, "SELECT email, name FROM users")
    assert (user["email"], user["name"]) == (email, name)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ("", 422, "email"),
        ("name=Ada", 422, "email"),
        ("email=", 422, "email"),
        ("email=nobody", 422, "email"),
        ("email=ada%00@example.com", 422, "email"),
        (f"email={'x' * 255}@example.com", 422, "email"),
        ("email=ada@example.com&name=a%00b", 422, "name"),
        ("email=ada@example.com&name=a%0D%0Ab", 422, "name"),
        ("email=ada@example.com&name=%E2%80%8B", 422, "name"),
        (f"email=ada@example.com&name={'x' * 101}", 422, "name"),
        ("email=ada@example.com&is_admin=1", 422, None),
        ("email=ada@example.com&email=grace@example.com", 422, None),
        ("email=%FF@example.com", 400, None),
        ("email=ada@example.com&name=%ED%A0%80", 400, None),
        ("email", 422, "email"),
        ("email=ada@example.com&" + "&".join(f"field{number}=" for number in range(900)), 422, None),
        ("{}", 415, None),
        ("email=" + "x" * 16_384, 413, None),
    ],
)
async def test_a_problem_is_told_on_the_page_beside_its_field(
    client: httpx.AsyncClient, database: Database, body: str, status: int, field: str | None
) -> None:
    answer = await client.post("/signup", content=body.encode(), headers=FORM)

    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    page = Page(answer.text)
    wrong = [each for each in page.all("input") if "aria-invalid" in each]
    assert [(each["name"], each["aria-describedby"]) for each in wrong if "autofocus" in each] == (
        [(field, f"{field}-error")] if field else []
    )
    assert bool(page.all("p", role="alert")) is (field is None)
    assert await rows(database, "SELECT * FROM users") == []


async def test_what_was_typed_stays_and_is_escaped(client: httpx.AsyncClient) -> None:
    answer = await client.post("/signup", data={"email": HOSTILE, "name": "A & 'B'"})

    assert answer.status_code == 422
    page = Page(answer.text)
    assert page.one("input", name="email")["value"] == HOSTILE
    assert page.one("input", name="name")["value"] == "A & 'B'"
    assert HOSTILE not in answer.text
    assert page.all("script") == []


async def test_both_fields_can_be_wrong_and_the_first_has_the_focus(client: httpx.AsyncClient) -> None:
    page = Page((await client.post("/signup", data={"email": "nobody", "name": "\u200b"})).text)

    assert [(each["id"], "autofocus" in each) for each in page.all("input") if "aria-invalid" in each] == [
        ("email", True),
        ("name", False),
    ]
    assert page.says("Please enter a valid email address, such as ada@example.com.")
    assert page.says("This name contains invisible characters. Please type it again or leave it out.")


async def test_a_known_address_is_told_beside_its_field(
    client: httpx.AsyncClient, relay: ScriptedRelay
) -> None:
    await client.post("/signup", data=ADA)

    answer = await client.post("/signup", data={**ADA, "email": "ADA@example.com"})

    assert answer.status_code == 409
    page = Page(answer.text)
    assert page.one("input", id="email")["aria-invalid"] == "true"
    assert page.one("input", id="email")["value"] == "ADA@example.com"
    assert page.says("This address is already signed up.")


async def test_a_full_mailbox_is_told_beside_its_field(client: httpx.AsyncClient) -> None:
    for number in range(5):
        await client.post("/signup", data={"email": f"ada+{number}@example.com"})

    answer = await client.post("/signup", data={"email": "ada+5@example.com"})

    assert (answer.status_code, answer.headers["Content-Type"]) == (429, "text/html; charset=utf-8")
    assert int(answer.headers["Retry-After"]) > 0
    page = Page(answer.text)
    assert page.one("input", id="email")["aria-invalid"] == "true"
    assert page.says("There were too many signups for this mailbox.")
    assert re.search("try again in (an hour|a minute|[0-9]+ minutes)", answer.text)


async def test_the_page_sent_again_is_the_same_signup(
    client: httpx.AsyncClient, database: Database, relay: ScriptedRelay
) -> None:
    key = str(Page((await client.get("/")).text).one("input", name="idempotency_key")["value"])

    answers = await asyncio.gather(
        *(client.post("/signup", data={**ADA, "idempotency_key": key}) for _ in range(5))
    )
    answers.append(await client.post("/signup", data={**ADA, "idempotency_key": key}))

    assert {answer.status_code for answer in answers} == {303}
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert len(await rows(database, "SELECT * FROM outbox")) == 1


async def test_the_page_sent_with_another_address_is_another_signup(client: httpx.AsyncClient) -> None:
    first, corrected = [
        await client.post("/signup", data={"email": email, "idempotency_key": "4f1c"})
        for email in ("ada@exmaple.com", "ada@example.com")
    ]

    assert (first.status_code, corrected.status_code) == (303, 303)
    assert first.headers["Location"] != corrected.headers["Location"]


async def test_every_page_has_a_key_of_its_own_and_keeps_it_after_an_error(client: httpx.AsyncClient) -> None:
    keys = [Page((await client.get("/")).text).one("input", name="idempotency_key") for _ in range(2)]
    answer = await client.post("/signup", data={"email": "nobody", "idempotency_key": HOSTILE})

    assert keys[0]["value"] != keys[1]["value"]
    assert Page(answer.text).one("input", name="idempotency_key")["value"] == HOSTILE


async def test_an_idempotency_key_gives_the_same_page_again(
    client: httpx.AsyncClient, relay: ScriptedRelay
) -> None:
    first, again = [
        await client.post("/signup", data=ADA, headers={"Idempotency-Key": "4f1c"}) for _ in range(2)
    ]

    assert (first.status_code, again.status_code) == (303, 303)
    assert first.headers["Location"] == again.headers["Location"]


@pytest.mark.parametrize("fields", [{**ADA, "website": "https://evil.com"}, {"website": "x"}])
async def test_the_trap_gives_the_neutral_page_and_stores_nothing(
    client: httpx.AsyncClient, database: Database, fields: dict[str, str]
) -> None:
    answer = await client.post("/signup", data=fields)

    assert (answer.status_code, answer.headers["Location"]) == (303, "/welcome")
    for table in ("users", "outbox"):
        assert await rows(database, f"SELECT * FROM {table}") == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 303),
        ({"Origin": "http://test"}, 303),
        ({"Origin": "https://test"}, 303),
        ({"Origin": "https://TEST"}, 303),
        ({"Origin": "https://engines.example.com"}, 303),
        ({"Origin": "https://app.example.com"}, 303),
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 303),
        ({"Origin": "https://evil.com", "Sec-Fetch-Site": "same-origin"}, 303),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "null", "Host": ""}, 403),
        ({"Origin": "null", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "https://evil.com"}, 403),
        ({"Origin": "https://evil.com", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.com", "Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "https://test.evil.com"}, 403),
        ({"Origin": "https://test:8443"}, 403),
        ({"Origin": "https://engines.example.com.evil.com"}, 403),
        ({"Origin": "http://engines.example.com"}, 403),
        ({"Origin": "http://["}, 403),
    ],
)
async def test_a_form_from_a_foreign_page_is_refused(
    client: httpx.AsyncClient, database: Database, headers: dict[str, str], status: int
) -> None:
    answer = await client.post("/signup", data=ADA, headers=headers)

    assert answer.status_code == status
    assert len(await rows(database, "SELECT * FROM users")) == (status == 303)
    if status == 403:
        assert Page(answer.text).says(
            "This form was sent from another site. Please use the form on our page."
        )


@pytest.mark.parametrize(
    ("changes", "origin"),
    [
        ({"public_url": "https://Engines.example.com:443/signup"}, "https://engines.example.com"),
        ({"public_url": "http://engines.example.com:80"}, "http://engines.example.com"),
        ({"public_url": "https://straße.example"}, "https://xn--strae-oqa.example"),
        ({"public_url": "http://engines.example.com:8080"}, "http://engines.example.com:8080"),
        ({"cors_origins": ("*",)}, "https://anywhere.example.com"),
    ],
)
async def test_origins_are_those_that_browsers_write(
    settings: Settings, changes: dict[str, Any], origin: str
) -> None:
    async with running(settings.model_copy(update=changes)) as live:
        answer = await live.client.post("/signup", data=ADA, headers={"Origin": origin, **BROWSER})

    assert answer.status_code == 303


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"x" * 16_385, {"Content-Encoding": "gzip", "Origin": "https://evil.com"}, 413),
        (b"x", {"Content-Encoding": "gzip", "Origin": "https://evil.com"}, 415),
        (b"x", {"Origin": "https://evil.com"}, 403),
        (b"email=%FF", {}, 400),
    ],
)
async def test_the_first_of_several_problems_is_told(
    client: httpx.AsyncClient, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await client.post("/signup", content=body, headers=FORM | headers)

    assert answer.status_code == status
    assert Page(answer.text).one("p", role="alert")


@pytest.mark.parametrize(
    ("changes", "origin", "status", "sentence"),
    [
        ({"signups_paused": True}, "https://evil.com", 403, "another site"),
        ({"signups_paused": True}, "https://test", 503, "Signups are paused .* in 5 minutes"),
        ({"signup_rate_limit": ONCE}, "https://evil.com", 403, "another site"),
        ({"signup_rate_limit": ONCE}, "https://test", 429, "from your network.* again in"),
        ({"signup_rate_limit": ONCE, "signups_paused": True}, "https://test", 503, "Signups are paused"),
    ],
)
async def test_forms_are_paused_and_limited_as_json_is(
    settings: Settings, changes: dict[str, Any], origin: str, status: int, sentence: str
) -> None:
    async with running(settings.model_copy(update=changes)) as live:
        await live.client.post("/signup", json={"email": "grace@example.com"})
        answer = await live.client.post("/signup", data=ADA, headers={"Origin": origin, **BROWSER})

    assert answer.status_code == status
    assert ("Retry-After" in answer.headers) == (status != 403)
    assert re.search(sentence, answer.text)
    # A foreign page does not fill in ours.
    typed = Page(answer.text).one("input", name="email")["value"]
    assert typed == ("" if status == 403 else "ada@example.com")


async def test_the_page_says_that_signups_are_paused(settings: Settings) -> None:
    async with running(settings.model_copy(update={"signups_paused": True})) as live:
        answer = await live.client.get("/")

    assert answer.status_code == 200
    assert "Signups are paused" in answer.text


async def test_after_a_bug_there_is_a_page_with_what_was_typed(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def break_down(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(SignupHandler, "handle", break_down)

    answer = await client.post("/signup", data=ADA)

    assert (answer.status_code, answer.headers["Content-Type"]) == (500, "text/html; charset=utf-8")
    page = Page(answer.text)
    assert page.says("Something went wrong on our side. Please try again.")
    assert page.one("input", name="email")["value"] == "ada@example.com"


async def test_what_was_typed_stays_when_it_was_not_sent_in_utf_8(client: httpx.AsyncClient) -> None:
    answer = await client.post("/signup", content="email=ada@example.com&name=Zo%EB", headers=FORM)

    assert answer.status_code == 400
    page = Page(answer.text)
    assert "UTF-8" in answer.text
    assert page.one("input", name="email")["value"] == "ada@example.com"
    assert page.one("input", name="name")["value"] == "Zo\u00eb"


async def test_without_a_database_the_page_says_so_and_keeps_what_was_typed(settings: Settings) -> None:
    away = settings.model_copy(update={"database_url": SecretStr("postgresql://nobody@127.0.0.1:1/none")})
    async with running(away) as live:
        answer = await live.client.post("/signup", data=ADA, headers=BROWSER)
        neutral = await live.client.get(f"/welcome/{UUID(int=1)}")

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    page = Page(answer.text)
    assert page.says("We can't store anything right now. Please try again in a moment.")
    assert page.one("input", name="email")["value"] == "ada@example.com"
    assert neutral.status_code == 200


async def test_json_keeps_its_problem_documents(client: httpx.AsyncClient) -> None:
    answer = await client.post("/signup", json={"email": "nobody"}, headers={"Accept": "text/html"})

    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_every_form_is_audited_like_every_signup(client: httpx.AsyncClient, database: Database) -> None:
    for request_id in ("first-form", "second-form"):
        await client.post("/signup", data=ADA, headers={"X-Request-ID": request_id})

    async def entries() -> list[tuple[int, bool]]:
        found = await rows(
            database, "SELECT status, user_id FROM audit_log WHERE request_id LIKE '%-form' ORDER BY seq"
        )
        return [(entry["status"], entry["user_id"] is not None) for entry in found]

    async def both() -> bool:
        return await entries() == [(303, True), (409, False)]

    await eventually(both)


async def test_the_documentation_has_both_bodies(client: httpx.AsyncClient) -> None:
    operation = (await client.get("/openapi.json")).json()["paths"]["/signup"]["post"]

    assert set(operation["requestBody"]["content"]) == {
        "application/json",
        "application/x-www-form-urlencoded",
    }
    assert {"201", "303", "403"} <= set(operation["responses"])


@pytest.mark.parametrize("send", ["json", "data"])
@pytest.mark.parametrize(
    ("accept_language", "locale", "greeting"),
    [("de-AT,de;q=0.9", "de", "Hallo Ada,"), ("fr", "en", "Hello Ada,"), (None, "en", "Hello Ada,")],
)
async def test_the_language_is_kept_with_the_user_and_the_mail_is_in_it(
    client: httpx.AsyncClient,
    database: Database,
    relay: ScriptedRelay,
    send: str,
    accept_language: str | None,
    locale: str,
    greeting: str,
) -> None:
    client.headers.update({"Accept-Language": accept_language} if accept_language else {})
    fields = {"email": "ada@example.com", "name": "Ada"}

    await client.request("POST", "/signup", **{send: fields})  # type: ignore[arg-type]  # one of two

    await eventually(lambda: relay.accepted)
    [envelope] = relay.accepted
    assert greeting in envelope.message.get_body(("plain",)).get_content()  # type: ignore[union-attr]  # multipart
    for table in ("users", "outbox"):
        assert await rows(database, f"SELECT locale FROM {table}") == [{"locale": locale}]


async def test_behind_a_path_prefix_every_address_has_it(settings: Settings) -> None:
    behind = settings.model_copy(update={"public_url": "https://example.com/join", "worker": False})
    person = {"Accept": "text/html"}
    async with running(behind) as live:
        form = Page((await live.client.get("/", headers=person)).text).one("form")
        answer = await live.client.post("/signup", json={"email": "ada@example.com"})
        welcome = await live.client.post("/signup", data={"email": "grace@example.com"}, headers=person)
        page = await live.client.get(welcome.headers["Location"].removeprefix("/join"), headers=person)

    assert form["action"] == "/join/signup"
    assert answer.headers["Location"] == f"/join/signup/{answer.json()['id']}"
    assert welcome.headers["Location"].startswith("/join/welcome/")
    assert '"/join/signup/' in page.text
    assert Page(page.text).all("a", href="/join/")
