"""Draws the README's pictures, light and dark: a signup from the form to the mail."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.async_api import Browser, Page, ViewportSize, async_playwright, expect

from tests.browser.pages import SENT, fill_in
from tests.browser.site import Site, started
from tests.browser.window import Scheme, executable
from tests.support.forks import ROOT

FOLDER = ROOT / "docs" / "pictures"
SCHEMES: dict[Scheme, str] = {
    "light": "#d0d5dd",
    "dark": "#3a424f",
}  # the line around each window
WINDOW: ViewportSize = {"width": 400, "height": 640}
SHARPNESS = 1
SHEET = """<!doctype html>
<style>
body {{ margin: 0; width: max-content; display: flex; gap: 20px; }}
img {{ width: 400px; border-radius: 14px; outline: 1px solid {line}; outline-offset: -1px; }}
</style>
<body>{images}"""


async def draw(folder: Path) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable())
        for scheme in SCHEMES:
            async with started(folder=folder / scheme, PRODUCT_NAME="Analytical Engines") as site:
                await _draw(scheme, site=site, browser=browser)
        await browser.close()


async def _draw(scheme: Scheme, *, site: Site, browser: Browser) -> None:
    page = await browser.new_page(
        viewport=WINDOW, device_scale_factor=SHARPNESS, color_scheme=scheme, reduced_motion="reduce"
    )
    shots = [b64encode(shot).decode() async for shot in _story(page, site)]
    images = "".join(f'<img src="data:image/png;base64,{shot}">' for shot in shots)
    await page.set_content(SHEET.format(line=SCHEMES[scheme], images=images))
    FOLDER.mkdir(exist_ok=True)
    await page.locator("body").screenshot(path=FOLDER / f"signup-{scheme}.png", omit_background=True)


async def _story(page: Page, site: Site) -> AsyncIterator[bytes]:
    await page.goto(site.url)
    await page.get_by_label("Email address").fill("ada@example.com")
    await page.get_by_label("Name").fill("Ada")
    yield await page.screenshot()
    await fill_in(page, email="ada@example.com")
    await expect(page.get_by_role("status")).to_have_text(SENT)
    yield await page.screenshot()
    await page.goto(site.inbox)
    await page.get_by_role("listitem").click()
    await expect(page.frame_locator("iframe").get_by_role("heading")).to_be_visible()
    yield await page.screenshot()


if __name__ == "__main__":
    with TemporaryDirectory() as temporary:
        asyncio.run(draw(Path(temporary)))
