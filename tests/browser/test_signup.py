"""The signup page, as a person uses it."""

from asyncio import Event
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from playwright.async_api import Locator, expect

from tests.browser.pages import SENT, fill_in, somebody
from tests.browser.site import Site, started
from tests.browser.window import Browsing
from tests.support.eventually import eventually
from tests.support.relay import Envelope, ScriptedRelay

pytestmark = pytest.mark.asyncio(loop_scope="session")
each_way = pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])

PENDING = "Your welcome email is on its way."
FAILED = "You are signed up, but your welcome email could not be delivered."
TAKEN = "This address has signed up already."


@each_way
async def test_a_person_signs_up_and_reads_the_mail(site: Site, visit: Browsing, scripts: bool) -> None:
    page, address = (await visit(site.url, scripts=scripts)).page, somebody()

    await fill_in(page, email=address)
    await expect(page.get_by_role("heading")).to_have_text("Thank you")
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


@pytest.mark.parametrize(("reply", "sentence"), [("250 queued", SENT), ("550 nobody", FAILED)])
async def test_the_page_tells_what_became_of_the_mail_by_itself(
    slow_relay: SlowRelay, visit: Browsing, reply: str, sentence: str
) -> None:
    slow_relay.relay.answers["dot"] = reply
    page = (await visit(slow_relay.site.url)).page
    await fill_in(page, email=somebody())
    await expect(page.get_by_role("status")).to_have_text(PENDING)
    await page.evaluate("window.neverReloaded = true")

    slow_relay.may_answer.set()

    await expect(page.get_by_role("status")).to_have_text(sentence)
    assert await page.evaluate("window.neverReloaded")


async def test_without_scripts_it_is_a_link_away(slow_relay: SlowRelay, visit: Browsing) -> None:
    slow_relay.relay.answers["dot"] = "250 queued"
    page = (await visit(slow_relay.site.url, scripts=False)).page
    await fill_in(page, email=somebody())
    await expect(page.get_by_role("status")).to_have_text(PENDING)

    slow_relay.may_answer.set()

    async def has_been_sent() -> bool:
        if await (link := page.get_by_role("link", name="Look again")).count():
            await link.click()
        return await page.get_by_role("status").text_content() == SENT

    await eventually(has_been_sent)


@each_way
@pytest.mark.parametrize(
    ("label", "email", "name", "complaint"),
    [
        ("Email address", "ada@nowhere", "Ada", "This is not an email address that mail can be sent to."),
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

    await expect(page.get_by_role("heading")).to_have_text("Thank you")


async def test_the_keyboard_is_enough(site: Site, visit: Browsing) -> None:
    page = (await visit(site.url)).page

    for stop, typed in [("email", somebody()), ("name", "Ada"), (None, "")]:
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.getAttribute('name')") == stop
        assert await page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)") >= 2
        await page.keyboard.type(typed)
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("heading")).to_have_text("Thank you")


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
