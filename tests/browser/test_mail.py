"""The welcome mail as a reader sees it."""

import email
import email.policy
from email.message import EmailMessage
from itertools import product

import httpx
import pytest
from playwright.async_api import expect

from tests.browser.pages import somebody
from tests.browser.site import Site
from tests.browser.window import DESKTOP, PHONE, Browsing, Scheme, brightness
from tests.support.eventually import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")
each_language = pytest.mark.parametrize("language", ["en", "de"])

ACCESSIBILITY = (
    "wcag2a",
    "wcag2aa",
    "wcag21aa",
)  # without rules for whole pages
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
WIDTHS = (PHONE, DESKTOP)
MAX_BYTES = 100_000  # some mail programs cut off longer mails


async def arrived(site: Site, *, language: str) -> EmailMessage:
    await site.sign_up(somebody(), language=language)
    async with httpx.AsyncClient(base_url=site.inbox) as client:

        async def mails() -> object:
            return (await client.get("/api/v1/messages")).json()

        await eventually(mails)
        [mail] = (await client.get("/api/v1/messages")).json()
        source = await client.get(f"/api/v1/messages/{mail['ID']}/download")
    return email.message_from_bytes(source.content, EmailMessage, policy=email.policy.default)


def part(mail: EmailMessage, kind: str) -> str:
    found = mail.get_body((kind,))
    assert found
    return str(found.get_content())


@each_language
async def test_it_is_whole_and_readable_on_a_phone_and_a_desktop_by_day_and_by_night(
    site: Site, visit: Browsing, language: str
) -> None:
    mail = await arrived(site, language=language)
    window = await visit()

    await window.page.set_content(part(mail, "html"), wait_until="networkidle")

    assert len(mail.as_bytes()) < MAX_BYTES
    assert window.requests == []
    for width, scheme in product(WIDTHS, SCHEMES):
        await window.becomes(scheme=scheme, width=width)
        assert not await window.is_scrolled_sideways()
        assert (await brightness(window.page.locator(".paper")) > 192) == (scheme == "light")
        await window.assert_usable_by_everybody(*ACCESSIBILITY)


@each_language
async def test_its_text_says_what_is_seen_of_the_html(site: Site, visit: Browsing, language: str) -> None:
    mail = await arrived(site, language=language)
    page = (await visit()).page
    await page.set_content(part(mail, "html"))

    link = page.get_by_role("link")
    await link.evaluate("link => link.append(': ' + link.getAttribute('href'))")

    seen = (await page.inner_text("body")).casefold().split()  # a heading begins with a capital
    assert seen == part(mail, "plain").casefold().split()


@each_language
async def test_a_list_of_mails_shows_a_first_sentence_that_the_mail_does_not(
    site: Site, visit: Browsing, language: str
) -> None:
    mail = await arrived(site, language=language)
    page = (await visit()).page
    await page.set_content(part(mail, "html"))

    preheader = page.locator("body > :first-child")

    assert not await preheader.is_visible()
    sentence = (await preheader.text_content() or "").strip()
    assert 30 < len(sentence) < 100
    assert sentence.endswith(".")


async def test_the_preview_shows_it_by_day_and_by_night_at_once(site: Site, visit: Browsing) -> None:
    page = (await visit(f"{site.url}/dev/preview", scheme="null")).page

    for scheme in ("light", "dark"):
        frame = page.frame_locator(f"iframe[title='Phone, {scheme}']")
        paper = frame.locator(".paper")
        await expect(paper.get_by_role("heading")).to_have_text("Welcome to Our service!")
        assert (await brightness(paper) > 192) == (scheme == "light")
