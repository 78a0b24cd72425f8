"""The inbox of `signup-service up`, and everything that a person does there."""

import asyncio
from datetime import datetime, timedelta, timezone
from email.message import EmailMessage

import aiosmtplib
import pytest
from playwright.async_api import Dialog, Page, expect

from tests.browser.pages import somebody
from tests.browser.site import Site
from tests.browser.window import Browsing

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOSTILE = """<!doctype html><html><head><title>Prize</title></head><body>
<p id="words">You have won</p>
<script>document.getElementById("words").textContent = "Robbed"</script>
<img src="{spy}/pixel" onerror="parent.document.title = 'Robbed'">
<form action="{spy}"><button>Claim</button></form>
</body></html>"""


async def send(site: Site, subject: str, *, to: str = "ada@example.com", html: str = "<p>Hello</p>") -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "grace@example.com", to, subject
    message.set_content("Hello")
    message.add_alternative(html, subtype="html")
    await aiosmtplib.send(message, hostname="127.0.0.1", port=site.smtp_port)


async def open_mail(page: Page, subject: str) -> None:
    await page.get_by_role("link", name=subject).click()
    await expect(page.get_by_role("heading")).to_have_text(subject)


async def test_new_mails_appear_by_themselves(site: Site, visit: Browsing) -> None:
    page, address = (await visit(site.inbox)).page, somebody()
    await expect(page.get_by_text("No mail yet.")).to_be_visible()
    await page.evaluate("window.neverReloaded = true")

    await site.sign_up(address)

    await expect(page.get_by_role("link", name=address)).to_be_visible()
    await expect(page).to_have_title("Inbox (1)")
    assert await page.evaluate("window.neverReloaded")


async def test_a_search_keeps_to_what_it_finds_while_mails_appear(site: Site, visit: Browsing) -> None:
    for to in ("ada@example.com", "grace@example.com"):
        await send(site, f"For {to}", to=to)
    page = (await visit(site.inbox)).page

    await page.get_by_label("Search in").select_option("To")
    await page.get_by_label("Search for").fill("ada@")
    await page.get_by_role("button", name="Search").click()

    await expect(page.get_by_role("listitem")).to_have_count(1)
    await expect(page.get_by_label("Search for")).to_have_value("ada@")
    await send(site, "Also for Grace", to="grace@example.com")
    await send(site, "Also for Ada")
    await expect(page.get_by_role("listitem")).to_have_count(2)
    await expect(page.get_by_role("listitem").first).to_contain_text("Also for Ada")


async def test_a_mail_is_shown_in_every_way(site: Site, visit: Browsing) -> None:
    await send(site, "Grüße", html="<p>Hello from <b>Grace</b></p>")
    page = (await visit(site.inbox)).page
    await open_mail(page, "Grüße")

    await expect(page.frame_locator("iframe").get_by_text("Hello from Grace")).to_be_visible()
    for view, words in [
        ("Text", "Hello"),
        ("Headers", "multipart/alternative"),
        ("Source", "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?="),
    ]:
        await page.get_by_role("link", name=view, exact=True).click()
        await expect(page.locator(".paper")).to_contain_text(words)


async def test_a_mail_can_do_nothing(site: Site, visit: Browsing) -> None:
    heard: list[object] = []
    spy = await asyncio.start_server(lambda *connection: heard.append(connection), "127.0.0.1", 0)
    await send(site, "Prize", html=HOSTILE.format(spy=f"http://127.0.0.1:{spy.sockets[0].getsockname()[1]}"))
    window = await visit(site.inbox)
    await open_mail(window.page, "Prize")

    mail = window.page.frame_locator("iframe")
    await mail.get_by_role("button", name="Claim").click()

    await expect(mail.locator("#words")).to_have_text("You have won")
    await expect(window.page).to_have_title("Prize")
    assert heard == []
    for means in ("script", "image", "form"):
        assert any(means in complaint for complaint in window.complaints)
    window.complaints.clear()  # the browser complained about everything that it refused
    spy.close()


async def test_a_link_in_a_mail_opens_beside_the_inbox(site: Site, visit: Browsing) -> None:
    await send(site, "Go", html=f'<!doctype html><html><a href="{site.url}">Go to us</a></html>')
    window = await visit(site.inbox)
    await open_mail(window.page, "Go")

    async with window.context.expect_page() as opened:
        await window.page.frame_locator("iframe").get_by_role("link").click()

    beside = await opened.value
    await beside.get_by_label("Email address").fill("it is a page as free as any")
    assert await beside.evaluate("window.opener") is None
    await expect(window.page.get_by_role("heading")).to_have_text("Go")


async def test_one_mail_is_deleted(site: Site, visit: Browsing) -> None:
    for subject in ("Kept", "Deleted"):
        await send(site, subject)
    page = (await visit(site.inbox)).page
    await open_mail(page, "Deleted")

    await page.get_by_role("button", name="Delete").click()

    await expect(page.get_by_role("listitem")).to_have_count(1)
    await expect(page.get_by_role("listitem")).to_contain_text("Kept")


@pytest.mark.parametrize(("sure", "left"), [(True, 0), (False, 1)])
async def test_all_mails_are_deleted_by_whoever_is_sure(
    site: Site, visit: Browsing, sure: bool, left: int
) -> None:
    await send(site, "Hello")
    page = (await visit(site.inbox)).page
    asked: list[str] = []

    async def answer(dialog: Dialog) -> None:
        asked.append(dialog.message)
        await (dialog.accept() if sure else dialog.dismiss())

    page.on("dialog", answer)
    await page.get_by_role("button", name="Delete all").click()

    await page.goto(site.inbox)
    await expect(page.get_by_role("listitem")).to_have_count(left)
    assert asked == ["Delete all mails?"]


async def test_during_a_search_it_says_how_many_mails_would_be_deleted(site: Site, visit: Browsing) -> None:
    for to in ("ada@example.com", "grace@example.com"):
        await send(site, f"For {to}", to=to)
    page = (await visit(f"{site.inbox}/?kind=to&query=grace%40")).page
    asked: list[str] = []

    async def accept(dialog: Dialog) -> None:
        asked.append(dialog.message)
        await dialog.accept()

    page.on("dialog", accept)
    await page.get_by_role("button", name="Delete found").click()

    await expect(page.get_by_role("listitem")).to_contain_text(["For ada@example.com"])
    assert asked == ["Delete the 1 mail that this search finds?"]


async def test_a_mail_is_unread_until_it_was_opened(site: Site, visit: Browsing) -> None:
    for subject in ("Old", "New"):
        await send(site, subject)
    page = (await visit(site.inbox)).page
    await expect(page.get_by_text("Unread:")).to_have_count(2)

    await open_mail(page, "Old")
    await page.get_by_role("link", name="Newer").click()
    await expect(page.get_by_role("heading")).to_have_text("New")
    await page.get_by_role("link", name="Older").click()
    await expect(page.get_by_role("heading")).to_have_text("Old")
    await page.get_by_role("link", name="Inbox").click()

    await expect(page.get_by_role("listitem")).to_have_count(2)
    await expect(page.get_by_text("Unread:")).to_have_count(0)


async def test_times_are_those_of_the_reader(site: Site, visit: Browsing) -> None:
    await send(site, "Hello")
    window = await visit()
    browser = await window.context.new_cdp_session(window.page)
    await browser.send("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Kathmandu"})  # 5 h 45 min ahead
    await window.page.goto(site.inbox)
    await open_mail(window.page, "Hello")

    shown = window.page.locator("time")

    received = datetime.fromisoformat(await shown.get_attribute("datetime") or "")
    there = received.astimezone(timezone(timedelta(hours=5, minutes=45)))
    await expect(shown).to_have_text(f"{there:%d/%m/%Y, %H:%M:%S}")


async def test_a_lost_connection_shows_until_it_is_back(site: Site, visit: Browsing) -> None:
    page = (await visit()).page
    await page.clock.install()
    await page.route("**/changed*", lambda route: route.abort())
    await page.goto(site.inbox)
    lost = page.get_by_text("The connection to the inbox is lost.")
    await expect(lost).to_be_visible()

    await page.unroute("**/changed*")
    await page.clock.fast_forward(2_000)

    await expect(lost).to_be_hidden()


async def test_the_keyboard_is_enough(site: Site, visit: Browsing) -> None:
    await send(site, "Hello")
    page = (await visit(site.inbox)).page

    for stop in ("Inbox", "Search in", "Search for", "Search", "Delete all", "Sign up", "Preview", "Hello"):
        await page.keyboard.press("Tab")
        focused = page.locator(":focus")
        assert stop in await focused.aria_snapshot()
        assert await focused.evaluate("it => parseFloat(getComputedStyle(it).outlineWidth)") >= 2
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("heading")).to_have_text("Hello")
