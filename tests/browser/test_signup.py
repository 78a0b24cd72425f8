"""The signup page, as a person uses it."""

from asyncio import Event
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from playwright.async_api import APIResponse, Locator, Route, expect

from tests.browser.pages import SENT, fill_in, somebody
from tests.browser.site import Site, started
from tests.browser.window import Browsing
from tests.support.eventually import eventually
from tests.support.relay import Envelope, ScriptedRelay

pytestmark = pytest.mark.asyncio(loop_scope="session")
each_way = pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])

PENDING = "Your welcome email is on its way."
FAILED = "You're signed up, but your welcome email could not be delivered."
TAKEN = "This address is already signed up."
CHECK = "Check your inbox."
UNREACHED = "We couldn't reach you."


@each_way
async def test_a_person_signs_up_and_reads_the_mail(site: Site, visit: Browsing, scripts: bool) -> None:
    page, address = (await visit(site.url, scripts=scripts)).page, somebody()

    await fill_in(page, email=address)
    await expect(page.get_by_role("heading")).to_have_text(CHECK)
    inbox = (await visit(site.inbox)).page
    await inbox.get_by_role("link", name=address).click()

    await expect(inbox.get_by_role("heading")).to_have_text("Welcome to Our service")
    await expect(inbox.frame_locator("iframe").get_by_text("Hello Ada,")).to_be_visible()


@dataclass
class SlowRelay:
    """A site whose relay answers each mail only when the test allows it."""

    site: Site
    relay: ScriptedRelay
    may_answer: Event = field(default_factory=Event)

    async def wait(self, stage: str, _: Envelope) -> None:
        if stage == "dot":
            await self.may_answer.wait()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def _slow_relay(chromium: object, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SlowRelay]:
    relay = await ScriptedRelay.started()
    folder = tmp_path_factory.mktemp("slow")
    async with started("--relay", folder=folder, SMTP_HOST="127.0.0.1", SMTP_PORT=relay.port) as site:
        slow = SlowRelay(site, relay)
        relay.on_stage = slow.wait
        yield slow
    await relay.stop()


@pytest.fixture
def slow_relay(_slow_relay: SlowRelay) -> SlowRelay:
    _slow_relay.may_answer.clear()
    return _slow_relay


@pytest.mark.parametrize(
    ("reply", "heading", "sentence"), [("250 queued", CHECK, SENT), ("550 nobody", UNREACHED, FAILED)]
)
async def test_the_page_tells_what_became_of_the_mail_by_itself(
    slow_relay: SlowRelay, visit: Browsing, reply: str, heading: str, sentence: str
) -> None:
    slow_relay.relay.answers["dot"] = reply
    page = (await visit(slow_relay.site.url)).page
    await fill_in(page, email=somebody())
    await expect(page.get_by_role("status")).to_have_text(PENDING)
    await page.evaluate("window.neverReloaded = true")

    slow_relay.may_answer.set()

    await expect(page.get_by_role("status")).to_have_text(sentence)
    await expect(page.get_by_role("heading")).to_have_text(heading)
    assert (await page.title()).startswith(heading)
    assert await page.evaluate("window.neverReloaded")
    await page.get_by_role("link", name="Sign up again").click()
    await expect(page.get_by_role("heading")).to_have_text("Sign up")


async def test_without_scripts_it_is_a_link_away(slow_relay: SlowRelay, visit: Browsing) -> None:
    slow_relay.relay.answers["dot"] = "250 queued"
    page = (await visit(slow_relay.site.url, scripts=False)).page
    await fill_in(page, email=somebody())
    await expect(page.get_by_role("status")).to_have_text(PENDING)

    slow_relay.may_answer.set()

    async def has_been_sent() -> bool:
        if await (link := page.get_by_role("link", name="Check again")).count():
            await link.click()
        return await page.get_by_role("status").text_content() == SENT

    await eventually(has_been_sent)


@each_way
@pytest.mark.parametrize(
    ("label", "email", "name", "complaint"),
    [
        (
            "Email address",
            "ada@nowhere",
            "Ada",
            "Please enter a valid email address, such as ada@example.com.",
        ),
        ("Name", "ada@example.com", "Ada " * 30, "A name has at most 100 characters."),
    ],
)
async def test_a_mistake_is_told_beside_its_field_and_what_was_typed_stays(
    site: Site, visit: Browsing, scripts: bool, label: str, email: str, name: str, complaint: str
) -> None:
    page = (await visit(site.url, scripts=scripts)).page

    await fill_in(page, email=email, name=name)

    wrong = page.get_by_label(label)
    await expect(wrong).to_have_accessible_description(complaint)
    await expect(wrong).to_be_focused()
    assert await gap(wrong, page.get_by_text(complaint)) < 10
    await expect(page.get_by_label("Email address")).to_have_value(email)
    await expect(page.get_by_label("Name")).to_have_value(name)
    assert (await page.title()).startswith("Error: ")


async def gap(above: Locator, below: Locator) -> float:
    """Pixels from the bottom of one element to the top of the other."""
    upper, lower = await above.bounding_box(), await below.bounding_box()
    assert upper
    assert lower
    return abs(lower["y"] - upper["y"] - upper["height"])


@each_way
async def test_a_mistake_can_be_mended(site: Site, visit: Browsing, scripts: bool) -> None:
    taken = somebody()
    await site.sign_up(taken)
    page = (await visit(site.url, scripts=scripts)).page
    await fill_in(page, email=taken)
    await expect(page.get_by_label("Email address")).to_have_accessible_description(TAKEN)

    await fill_in(page, email=somebody())

    await expect(page.get_by_role("heading")).to_have_text(CHECK)


@each_way
@pytest.mark.parametrize(
    ("typed", "mailed"), [("{}@straße.de", "{}@xn--strae-oqa.de"), ("{}@βόλος.com", "{}@xn--nxasmm1c.com")]
)
async def test_the_browser_does_not_rewrite_the_domain(
    site: Site, visit: Browsing, scripts: bool, typed: str, mailed: str
) -> None:
    page, person = (await visit(site.url, scripts=scripts)).page, somebody().partition("@")[0]

    await fill_in(page, email=typed.format(person))

    await expect(page.get_by_role("heading")).to_have_text(CHECK)
    inbox = (await visit(site.inbox)).page
    await expect(inbox.get_by_role("link", name=mailed.format(person))).to_be_visible()


@each_way
async def test_after_a_stop_the_button_works_and_signs_up_once(
    site: Site, visit: Browsing, scripts: bool
) -> None:
    window, answers = await visit(site.url, scripts=scripts), list[APIResponse]()
    page, devtools = window.page, await window.context.new_cdp_session(window.page)

    async def keep_the_first_answer(route: Route) -> None:
        answers.append(await route.fetch(max_redirects=0))
        if len(answers) > 1:
            await route.fulfill(response=answers[-1])

    await page.route("**/signup", keep_the_first_answer)
    await page.get_by_label("Email address").fill(somebody())
    button = page.get_by_role("button", name="Sign up")
    await button.click(no_wait_after=True)
    await eventually(lambda: len(answers) == 1)
    await devtools.send("Page.stopLoading")  # the Stop button, and Esc
    await button.click()

    await expect(page.get_by_role("heading")).to_have_text(CHECK)
    assert answers[0].headers["location"] == answers[1].headers["location"]


async def test_a_second_click_is_harmless(slow_relay: SlowRelay, visit: Browsing) -> None:
    slow_relay.relay.answers["dot"] = "250 queued"
    slow_relay.may_answer.set()
    page, address = (await visit(slow_relay.site.url)).page, somebody()
    await page.get_by_label("Email address").fill(address)

    await page.get_by_role("button", name="Sign up").dblclick()

    await expect(page.get_by_role("status")).to_have_text(SENT)
    assert slow_relay.relay.recipients[address] == 1


async def test_the_address_of_the_form_leads_back_to_it(site: Site, visit: Browsing) -> None:
    page = (await visit(site.url)).page
    await fill_in(page, email="nobody")
    await expect(page.locator("[aria-invalid]")).to_have_count(1)

    await page.goto(page.url)

    assert page.url == f"{site.url}/"
    await expect(page.get_by_role("heading")).to_have_text("Sign up")


async def test_a_lost_browser_finds_the_form(site: Site, visit: Browsing) -> None:
    page = (await visit(f"{site.url}/nope")).page

    await page.get_by_role("link", name="Go to the signup page").click()

    await expect(page.get_by_label("Email address")).to_be_visible()


async def test_the_keyboard_is_enough(site: Site, visit: Browsing) -> None:
    page = (await visit(site.url)).page

    for stop, typed in [("email", somebody()), ("name", "Ada"), (None, "")]:
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.getAttribute('name')") == stop
        assert await page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)") >= 2
        await page.keyboard.type(typed)
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("heading")).to_have_text(CHECK)


async def test_nobody_sees_the_trap_for_programs(site: Site, visit: Browsing) -> None:
    page = (await visit(site.url)).page
    with_it = await page.screenshot()

    await page.evaluate("document.querySelector('[name=website]').parentElement.remove()")

    assert await page.screenshot() == with_it
    await page.reload()
    await expect(page.locator("[name=website]")).to_have_count(1)
    await expect(page.get_by_role("textbox")).to_have_count(2)


async def test_a_program_in_the_trap_gets_no_mail(site: Site, visit: Browsing) -> None:
    page, person = (await visit(site.url)).page, somebody()
    await page.evaluate("document.querySelector('[name=website]').value = 'https://spam.example'")

    await fill_in(page, email=somebody())
    await site.sign_up(person)

    inbox = (await visit(site.inbox)).page
    await expect(inbox.get_by_role("link", name=person)).to_be_visible()
    await expect(inbox.get_by_role("listitem")).to_have_count(1)
