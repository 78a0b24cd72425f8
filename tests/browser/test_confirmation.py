"""Confirming an address, as a person does it: sign up, read the mail, press a button."""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Page, Route, expect

from tests.browser.pages import fill_in, somebody
from tests.browser.site import Site, started
from tests.browser.window import DESKTOP, PHONE, Browsing, Visit, brightness
from tests.support.confirmation import LINK, text
from tests.support.eventually import eventually
from tests.support.forks import ROOT
from tests.support.ports import free_port
from tests.support.relay import Envelope

pytestmark = pytest.mark.asyncio(loop_scope="session")
each_way = pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])

EXAMPLE = ROOT / "examples" / "frontend"
TO_OPEN = "We've sent you an email. Please open the link in it to confirm your address."
CONFIRM_SUBJECT = "Confirm your email address for Our service"
YES, NO = "Yes, confirm my address", "No, delete my address"
LONG_AGO = """UPDATE users SET confirmation_asked_at =
strftime('%Y-%m-%d %H:%M:%f000', confirmation_asked_at, '-8 days') WHERE email = ?"""


@dataclass
class Confirming:
    """A site whose users confirm their addresses."""

    site: Site
    folder: Path

    async def mails(self, address: str) -> list[dict[str, object]]:
        async with httpx.AsyncClient(base_url=self.site.inbox) as client:
            found = await client.get("/api/v2/search", params={"kind": "to", "query": address})
        items: list[dict[str, object]] = found.json()["items"]
        return items

    async def subjects(self, address: str) -> list[str]:
        """The newest first."""
        return [mail["Content"]["Headers"]["Subject"][0] for mail in await self.mails(address)]  # type: ignore[index]  # JSON

    async def has_sent_all(self) -> bool:
        async with httpx.AsyncClient() as client:
            return "\nwelcome_emails_pending 0.0\n" in (await client.get(f"{self.site.url}/metrics")).text

    async def link(self, address: str, *, count: int = 1) -> str:
        """As it stands in the newest mail, once there are so many."""

        async def have_arrived() -> bool:
            return len(await self.mails(address)) == count

        await eventually(have_arrived)
        async with httpx.AsyncClient(base_url=self.site.inbox) as client:
            source = await client.get(f"/api/v1/messages/{(await self.mails(address))[0]['ID']}/download")
        found = LINK.search(text(Envelope(content=source.content)))
        assert found
        return found[0]

    async def read_link(self, visit: Browsing, address: str) -> str:
        """As it stands in the mail, which is read in the inbox."""
        await self.link(address)
        inbox = (await visit(self.site.inbox)).page
        await inbox.get_by_role("link", name=address).first.click()
        await expect(inbox.get_by_role("heading")).to_have_text(CONFIRM_SUBJECT)
        link = inbox.frame_locator("iframe").get_by_role("link", name="Confirm my address")
        href = await link.get_attribute("href")
        assert href
        assert LINK.fullmatch(href)
        return href

    async def sign_up(self) -> tuple[str, str]:
        """An address that waits to be confirmed, and its link."""
        address = somebody()
        await self.site.sign_up(address)
        return address, await self.link(address)

    async def is_confirmed(self, link: str) -> bool:
        async with httpx.AsyncClient() as client:
            return bool((await client.get(link)).json()["confirmed_at"])

    async def let_expire(self, address: str) -> None:
        def update() -> None:
            database = sqlite3.connect(self.folder / "data/service.db", timeout=10)
            with database:
                assert database.execute(LONG_AGO, [address]).rowcount == 1
            database.close()

        await asyncio.to_thread(update)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def confirming(chromium: object, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Confirming]:
    folder = tmp_path_factory.mktemp("confirming")
    async with started(folder=folder, CONFIRMATION="link", MAILBOX_RATE_LIMIT="") as site:
        yield Confirming(site, folder)


async def says(page: Page, heading: str) -> None:
    await expect(page.get_by_role("heading")).to_have_text(heading)
    assert (await page.title()).startswith(heading)


async def assert_suits_everybody(window: Visit) -> None:
    for scheme, width in (("light", PHONE), ("dark", DESKTOP)):
        await window.becomes(scheme=scheme, width=width)  # type: ignore[arg-type]  # a Scheme
        assert (await brightness(window.page.locator("body")) > 128) == (scheme == "light")
        assert not await window.is_scrolled_sideways()
        await window.assert_usable_by_everybody()


@each_way
async def test_a_person_signs_up_confirms_with_the_keyboard_and_is_welcome(
    confirming: Confirming, visit: Browsing, scripts: bool
) -> None:
    page, address = (await visit(confirming.site.url, scripts=scripts)).page, somebody()
    await expect(page.get_by_text("we'll send you a link to confirm it.")).to_be_visible()

    await fill_in(page, email=address)
    await says(page, "Check your inbox.")
    link = await confirming.read_link(visit, address)
    await page.reload()
    await expect(page.get_by_role("status")).to_have_text(TO_OPEN)
    await page.goto(link)
    await says(page, "Confirm your email address")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name=YES)).to_be_focused()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name=NO)).to_be_focused()
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Enter")

    await says(page, "Your address is confirmed.")
    await eventually(confirming.has_sent_all)
    assert await confirming.subjects(address) == ["Welcome to Our service", CONFIRM_SUBJECT]


async def test_whatever_is_pressed_again_nothing_more_is_sent(
    confirming: Confirming, visit: Browsing
) -> None:
    address, link = await confirming.sign_up()
    windows = [await visit(link) for _ in range(2)]

    for window in windows:
        await window.page.get_by_role("button", name=YES).click()
        await says(window.page, "Your address is confirmed.")
    await windows[0].page.goto(link)
    await says(windows[0].page, "Your address is confirmed.")
    await assert_suits_everybody(windows[0])
    late = (await visit(confirming.site.url)).page
    await fill_in(late, email=address)
    await expect(late.get_by_text("This address is already signed up.")).to_be_visible()

    await eventually(confirming.has_sent_all)
    assert await confirming.subjects(address) == ["Welcome to Our service", CONFIRM_SUBJECT]


async def test_afterwards_the_browser_is_where_confirmed_url_leads(
    chromium: object, visit: Browsing, tmp_path: Path
) -> None:
    """Redirects of that site to others included, which a browser holds against the form's policy."""
    ports = free_port(), free_port()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_first = writer.get_extra_info("sockname")[1] == ports[0]
        head = f"302 Found\r\nLocation: http://127.0.0.1:{ports[1]}/" if is_first else "200 OK"
        with suppress(asyncio.IncompleteReadError):  # a browser opens more connections than it uses
            await reader.readuntil(b"\r\n\r\n")
            page = "Content-Type: text/html\r\nConnection: close\r\n\r\n<title>Hello</title>"
            writer.write(f"HTTP/1.1 {head}\r\n{page}".encode())
            await writer.drain()
        writer.close()

    settings = {"CONFIRMATION": "link", "CONFIRMED_URL": f"http://127.0.0.1:{ports[0]}/start"}
    async with (
        await asyncio.start_server(answer, "127.0.0.1", ports[0]),
        await asyncio.start_server(answer, "127.0.0.1", ports[1]),
        started(folder=tmp_path, **settings) as site,
    ):
        _, link = await Confirming(site, tmp_path).sign_up()
        page = (await visit(link)).page
        await page.get_by_role("button", name=YES).click()
        await expect(page).to_have_title("Hello")
        assert page.url == f"http://127.0.0.1:{ports[1]}/"


async def test_no_script_presses_a_button(confirming: Confirming, visit: Browsing) -> None:
    _, link = await confirming.sign_up()

    window = await visit(link)
    await window.page.wait_for_load_state("networkidle")

    assert await window.page.locator("script").count() == 0
    assert not [url for url in window.requests if url != link]
    assert not await confirming.is_confirmed(link)
    await assert_suits_everybody(window)


async def test_who_did_not_sign_up_says_so_and_is_forgotten(confirming: Confirming, visit: Browsing) -> None:
    address, link = await confirming.sign_up()
    window = await visit(link)

    await window.page.get_by_role("button", name=NO).click()

    await says(window.page, "Your address is deleted.")
    await assert_suits_everybody(window)
    await window.page.goto(link)
    await says(window.page, "This link doesn't work.")
    await assert_suits_everybody(window)
    await window.page.get_by_role("link", name="Go to the signup page").click()
    await fill_in(window.page, email=address)
    await says(window.page, "Check your inbox.")


async def test_an_expired_link_is_sent_again_by_the_form_on_its_page(
    confirming: Confirming, visit: Browsing
) -> None:
    address, link = await confirming.sign_up()
    window = await visit(link)
    await confirming.let_expire(address)

    await window.page.get_by_role("button", name=YES).click()
    await says(window.page, "This link has expired.")
    await assert_suits_everybody(window)
    await window.page.get_by_label("Email address").fill(address.upper())
    await window.page.get_by_role("button", name="Send me a new link").click()

    await says(window.page, "Check your inbox.")
    await expect(window.page.get_by_role("status")).to_contain_text("We've sent you the link again.")
    await assert_suits_everybody(window)
    await window.page.goto(await confirming.link(address, count=2))
    await window.page.get_by_role("button", name=YES).click()
    await says(window.page, "Your address is confirmed.")


async def test_an_app_asks_to_open_the_link_and_confirms_by_itself(
    confirming: Confirming, visit: Browsing
) -> None:
    """The example frontend, and what a page of one's own does with a link."""
    page, address = (await visit()).page, somebody()

    async def serve(route: Route) -> None:
        text = (EXAMPLE / Path(route.request.url).name).read_text()
        kind = "text/html" if route.request.url.endswith("html") else "text/javascript"
        await route.fulfill(
            body=text.replace("http://127.0.0.1:8000", confirming.site.url), content_type=kind
        )

    await page.route(f"{confirming.site.url}/example/*", serve)
    await page.goto(f"{confirming.site.url}/example/index.html")
    await fill_in(page, email=address)
    await expect(page.get_by_role("status")).to_have_text(
        "Check your inbox, and open the link in it to confirm your address."
    )
    link = await confirming.link(address)
    await page.reload()
    await fill_in(page, email=address)
    await expect(page.get_by_label("Email address")).to_have_accessible_description(
        re.compile("not confirmed yet. Please open the link in the email that we sent you.")
    )

    confirmed = await page.evaluate("link => fetch(link, {method: 'POST'}).then(it => it.json())", link)

    assert confirmed.keys() == {"id", "confirmed_at"}
    assert await confirming.is_confirmed(link)
