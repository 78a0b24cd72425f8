"""The pages for people: their headers, their languages, and templates of one's own."""

import re
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from service.app import create_app
from service.person.reason import Reason
from service.settings import InvalidSettings, Settings
from service.signup import pages
from service.signup.body import BodyFault
from service.signup.handler import NOT_SENT_AGAIN
from service.signup.preconditions import TypeFault
from service.templating import translations
from service.web.problems import ProblemType, TryAgain
from tests.support.app import running
from tests.support.eventually import eventually
from tests.support.page import Page
from tests.support.relay import ScriptedRelay

pytestmark = pytest.mark.shares_app

NOTHING_KNOWN = "If this address is new to us, your welcome email is on its way."
BROWSER = {"Accept": "text/html,*/*;q=0.8"}
ADA = {"email": "ada@example.com"}
PATHS = ["/", "/welcome", "/welcome/nobody"]


@pytest.fixture
def client(client: httpx.AsyncClient) -> httpx.AsyncClient:
    client.headers.update(BROWSER)
    return client


@pytest.mark.parametrize("engine_name", ["sqlite"])
class TestEveryPage:
    @pytest.mark.parametrize("path", PATHS)
    async def test_has_its_headers(self, client: httpx.AsyncClient, path: str) -> None:
        answer = await client.get(path)

        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
        for directive in ("default-src", "base-uri", "frame-ancestors"):
            assert policy[directive] == "'none'"
        assert policy["form-action"] == "'self'"
        nonces = {each["nonce"] for tag in ("script", "style") for each in Page(answer.text).all(tag)}
        assert {f"'nonce-{nonce}'" for nonce in nonces} == {policy["script-src"]} == {policy["style-src"]}

    @pytest.mark.parametrize("path", PATHS)
    async def test_has_a_nonce_of_its_own_each_time(self, client: httpx.AsyncClient, path: str) -> None:
        first, second = [await client.get(path) for _ in range(2)]

        assert first.headers["Content-Security-Policy"] != second.headers["Content-Security-Policy"]

    @pytest.mark.parametrize("path", PATHS)
    async def test_needs_nothing_from_elsewhere_and_no_inline_code(
        self, client: httpx.AsyncClient, path: str
    ) -> None:
        answer = await client.get(path)

        page = Page(answer.text)
        for _, attributes in page.elements:
            assert not {"style", "src", *(name for name in attributes if name.startswith("on"))} & set(
                attributes
            )
            assert not (attributes.get("href") or "").startswith(("http", "//"))
        assert page.one("html")["lang"] == "en"
        assert page.one("meta", name="viewport")
        assert page.says("Analytical Engines")

    @pytest.mark.parametrize("path", PATHS)
    async def test_answers_head_like_get(self, client: httpx.AsyncClient, path: str) -> None:
        assert (await client.head(path)).headers["Content-Type"] == "text/html; charset=utf-8"

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("header", ["Host", "X-Forwarded-Host", "X-Request-ID"])
    async def test_repeats_no_header(self, client: httpx.AsyncClient, path: str, header: str) -> None:
        assert "evil.com" not in (await client.get(path, headers={header: "evil.com"})).text

    @pytest.mark.parametrize(
        ("path", "words"), [("/", "Registrieren"), ("/welcome", "Schauen Sie in Ihr Postfach.")]
    )
    async def test_speaks_the_language_of_whoever_asks(
        self, client: httpx.AsyncClient, path: str, words: str
    ) -> None:
        answer = await client.get(path, headers={"Accept-Language": "de-CH, en;q=0.5"})

        page = Page(answer.text)
        assert (page.one("html")["lang"], answer.headers["Content-Language"]) == ("de", "de")
        assert page.says(words)


async def test_the_form_can_be_used_without_sight_and_mouse(client: httpx.AsyncClient) -> None:
    page = Page((await client.get("/")).text)

    assert page.one("form") == {"method": "post", "action": "/signup", "accept-charset": "utf-8"}
    key, email, name, trap = page.all("input")
    assert (key["type"], email["type"], email["inputmode"]) == ("hidden", "text", "email")
    assert [email["autocomplete"], name["autocomplete"]] == ["email", "name"]
    assert "required" in email
    assert "required" not in name
    assert {label["for"] for label in page.all("label")} == {"email", "name", "website"}
    assert (trap["name"], trap["tabindex"], trap["autocomplete"]) == ("website", "-1", "off")
    assert {"data-1p-ignore", "data-bwignore", "data-lpignore", "data-form-type"} <= set(trap)
    assert page.one("div", **{"aria-hidden": "true"})


class TestWelcome:
    async def test_asks_on_while_the_mail_waits(self, settings: Settings) -> None:
        async with running(settings.model_copy(update={"worker": False})) as live:
            location = (await live.client.post("/signup", data=ADA, headers=BROWSER)).headers["Location"]
            answer = await live.client.get(location)

        page = Page(answer.text)
        assert page.one("div", **{"data-state": "pending"})
        assert page.says("Your welcome email is on its way.")
        again, back = page.all("a")
        assert again["href"] == ""  # without JavaScript: the page itself, once more
        assert back["href"] == "/"
        assert f'fetch("/signup/{location.removeprefix("/welcome/")}"' in answer.text
        assert "ada@" not in answer.text  # an id may have the letters

    @pytest.mark.parametrize(
        ("reply", "sentence"),
        [
            ("250 OK", "Your welcome email has been sent."),
            ("550 nobody", "You're signed up, but your welcome email could not be delivered."),
        ],
    )
    async def test_knows_when_it_is_decided(
        self, settings: Settings, relay: ScriptedRelay, reply: str, sentence: str
    ) -> None:
        relay.answers["rcpt"] = reply
        async with running(settings) as live:
            live.client.headers.update(BROWSER)
            location = (await live.client.post("/signup", data=ADA)).headers["Location"]

            async def said() -> bool:
                page = Page((await live.client.get(location)).text)
                return page.says(sentence) and not page.all("script")

            await eventually(said)
            page = Page((await live.client.get(location)).text)
        assert page.says("Wrong address? Sign up again")
        assert page.says("Check your inbox.") == (reply == "250 OK")

    @pytest.mark.parametrize(
        "path", ["/welcome", "/welcome/nobody", f"/welcome/{UUID(int=1)}", "/welcome/%00"]
    )
    async def test_tells_nothing_of_whom_it_does_not_know(self, client: httpx.AsyncClient, path: str) -> None:
        answer, neutral = await client.get(path), await client.get("/welcome")

        assert answer.status_code == 200
        assert Page(answer.text).says(NOTHING_KNOWN)
        assert _without_nonce(answer.text) == _without_nonce(neutral.text)


def _without_nonce(page: str) -> str:
    return re.sub('nonce="[^"]*"', "", page)


class TestTexts:
    def test_german_has_every_sentence(self) -> None:
        german = translations.load([pages.TEMPLATES])["de"]

        assert _sentences() == set(german)

    def test_a_sentence_of_ones_own_replaces_one_and_leaves_the_rest(self, tmp_path: Path) -> None:
        (tmp_path / "texts.de.toml").write_text('"Sign up" = "Mitmachen"', encoding="utf-8")
        (tmp_path / "texts.en.toml").write_text('"Sign up" = "Join"', encoding="utf-8")
        (tmp_path / "texts.fr.toml").write_text('"Sign up" = "S’inscrire"', encoding="utf-8")

        found = translations.load([tmp_path, pages.TEMPLATES])

        assert {language: translations.translator(found[language])("Sign up") for language in found} == {
            "de": "Mitmachen",
            "en": "Join",
            "fr": "S’inscrire",
        }
        assert translations.translator(found["de"])("Check again") == "Noch einmal nachsehen"
        assert translations.translator(found["fr"])("Check again") == "Check again"

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            (b'\n"Sign up" = \n', r"texts\.de\.toml cannot be used: .*line 2"),
            (b'"Sign up" = 1', r'texts\.de\.toml cannot be used: "Sign up" needs a text'),
            (b"\xff", r"texts\.de\.toml cannot be used: .*utf-8"),
        ],
    )
    def test_what_is_broken_is_named(self, tmp_path: Path, content: bytes, complaint: str) -> None:
        (tmp_path / "texts.de.toml").write_bytes(content)

        with pytest.raises(InvalidSettings, match=f"^TEMPLATES_DIR: .*{complaint}"):
            translations.load([tmp_path])


def _sentences() -> set[str]:
    """All that pages and errors can say."""
    templates = "".join(file.read_text(encoding="utf-8") for file in pages.TEMPLATES.glob("*.html"))
    return {
        *re.findall(r'_\("([^"]+)"\)', templates),
        *pages.HEADINGS.values(),
        *pages.MESSAGES.values(),
        *pages.MESSAGES_TO_CONFIRM.values(),
        NOT_SENT_AGAIN,
        *(reason.sentence for reason in Reason),
        # A preflight is answered to a browser, which shows it to nobody.
        *(each.detail for each in ProblemType if each is not ProblemType.PREFLIGHT_REFUSED),
        *BodyFault,
        *TypeFault,
        *TryAgain,
    }


@pytest.mark.parametrize("engine_name", ["sqlite"])
class TestTemplates:
    async def test_one_is_replaced_and_the_rest_stay(self, settings: Settings, tmp_path: Path) -> None:
        _write(
            tmp_path / "own",
            "page.signup.html",
            "{% extends 'page.html' %}{% block main %}Ahoy{% endblock %}",
        )

        async with running(settings.model_copy(update={"templates_dir": tmp_path / "own"})) as live:
            form, welcome = [Page((await live.client.get(path)).text) for path in ("/", "/welcome")]

        assert form.says("Ahoy")
        assert not form.all("input")
        assert welcome.says(NOTHING_KNOWN)

    @pytest.mark.parametrize(
        ("template", "text", "complaint"),
        [
            ("page.html", "fine\n{% if %}", r"page\.html, line 2, .*Expected an expression"),
            ("page.html", "{{ prodct }}", r"page\.html, line 1, .*'prodct' is undefined"),
            ("page.html", "{% include 'logo.html' %}", r"page\.html, line 1, .*there is no logo\.html\.$"),
            ("page.signup.html", "\n{{ typed.phone }}", r"page\.signup\.html, line 2, .*phone"),
            ("page.signup.html", "{% if error %}{{ 1 / 0 }}{% endif %}", r"line 1, .*division"),
            ("page.welcome.html", "{{ messages['lost'] }}", r"page\.welcome\.html, line 1, .*lost"),
            (
                "page.welcome.html",
                "{% if state == 'failed' %}{{ x }}{% endif %}",
                r"line 1, .*'x' is undefined",
            ),
        ],
    )
    def test_a_broken_one_is_named_at_the_start(
        self, settings: Settings, tmp_path: Path, template: str, text: str, complaint: str
    ) -> None:
        _write(tmp_path / "own", template, text)

        with pytest.raises(InvalidSettings, match=f"^TEMPLATES_DIR: .*{complaint}"):
            create_app(settings.model_copy(update={"templates_dir": tmp_path / "own"}))

    @pytest.mark.parametrize("product", ["x", " \U0001f680 ", "<b>&'\"", "العربية", "W" * 100])
    async def test_any_product_name_makes_a_page(self, settings: Settings, product: str) -> None:
        async with running(settings.model_copy(update={"product_name": product})) as live:
            page = Page((await live.client.get("/")).text)

        assert page.says(" ".join(product.split()))


def _write(folder: Path, name: str, text: str) -> None:
    folder.mkdir()
    (folder / name).write_text(text, encoding="utf-8")
