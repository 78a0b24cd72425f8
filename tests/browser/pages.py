"""The pages that people see, and how to open each of them."""

from collections.abc import Awaitable, Callable
from uuid import uuid4

from playwright.async_api import Page, expect

from tests.browser.site import Site

Way = Callable[[Site, Page], Awaitable[object]]

SENT = "Your welcome email has been sent."


def somebody() -> str:
    """An address that has not signed up."""
    return f"ada.{uuid4().hex[:8]}@example.com"


async def fill_in(page: Page, *, email: str, name: str = "Ada") -> None:
    await page.get_by_label("Email address").fill(email)
    await page.get_by_label("Name").fill(name)
    await page.get_by_role("button", name="Sign up").click()


async def form(site: Site, page: Page) -> None:
    await page.goto(site.url)


async def refused_form(site: Site, page: Page) -> None:
    await form(site, page)
    await fill_in(page, email="ada@nowhere", name="A" * 120)
    await expect(page.locator("[aria-invalid]")).to_have_count(2)


async def confirmation(site: Site, page: Page) -> None:
    await page.goto(await site.sign_up(somebody()))
    await expect(page.get_by_role("status")).to_have_text(SENT)


async def missing(site: Site, page: Page) -> None:
    await page.goto(f"{site.url}/nope")


async def empty_inbox(site: Site, page: Page) -> None:
    await page.goto(site.inbox)


async def inbox(site: Site, page: Page) -> None:
    await site.sign_up(f"{'a' * 50}.{somebody()}")
    await site.sign_up(somebody())
    await page.goto(site.inbox)
    await expect(page.get_by_role("listitem")).to_have_count(2)


def mail(view: str) -> Way:
    async def way(site: Site, page: Page) -> None:
        await inbox(site, page)
        await page.get_by_role("listitem").last.click()
        await page.get_by_role("link", name=view, exact=True).click()
        await expect(page.locator("[aria-current]")).to_have_text(view)

    return way


async def no_such_mail(site: Site, page: Page) -> None:
    await page.goto(f"{site.inbox}/mails/unknown")


async def preview(site: Site, page: Page) -> None:
    await page.goto(f"{site.url}/dev/preview")


PAGES: dict[str, Way] = {
    "form": form,
    "refused form": refused_form,
    "confirmation": confirmation,
    "missing": missing,
    "empty inbox": empty_inbox,
    "inbox": inbox,
    **{f"mail as {view}": mail(view) for view in ("HTML", "Text", "Headers", "Source")},
    "no such mail": no_such_mail,
    "preview": preview,
}
