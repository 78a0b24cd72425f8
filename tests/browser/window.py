"""Browser windows, and checks of what they show."""

import os
import re
import shutil
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal, Self
from urllib.parse import urlsplit

from axe_playwright_python.base import AXE_SCRIPT, AxeResults
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page

# The first is the same engine without a browser around it, for a quarter of the work.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
TIMEOUT_MS = 15_000  # ms until Playwright gives up
PHONE, DESKTOP, HEIGHT = 360, 1280, 720

Scheme = Literal["light", "dark", "null"]  # null is the browser's default, from which a frame may differ


def executable() -> str | None:
    """The path of the system's Chromium, if there is one."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


async def brightness(element: Locator) -> float:
    """The brightness of the background behind the text, from 0 to 255."""
    ground = await element.evaluate("it => getComputedStyle(it).backgroundColor")
    return fmean(int(channel) for channel in re.findall(r"\d+", ground)[:3])


@dataclass
class Visit:
    """A browser window, with its requests and its error messages."""

    context: BrowserContext
    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @classmethod
    async def begun(cls, browser: Browser, *, scheme: Scheme, width: int, scripts: bool) -> Self:
        context = await browser.new_context(
            color_scheme=scheme,
            viewport={"width": width, "height": HEIGHT},
            java_script_enabled=scripts,
            locale="en-GB",
        )
        context.set_default_timeout(TIMEOUT_MS)
        visit = cls(context, await context.new_page())
        context.on("request", lambda request: visit.requests.append(request.url))
        context.on("weberror", lambda error: visit.complaints.append(str(error.error)))
        context.on("console", visit._heard)
        return visit

    @property
    def foreign(self) -> list[str]:
        """Requests to other machines."""
        hosts = {"127.0.0.1", ""}  # data: and about: have no host
        return [url for url in self.requests if (urlsplit(url).hostname or "") not in hosts]

    async def becomes(self, *, scheme: Scheme, width: int) -> None:
        await self.page.emulate_media(color_scheme=scheme)
        await self.page.set_viewport_size({"width": width, "height": HEIGHT})

    async def is_scrolled_sideways(self) -> bool:
        script = "({scrollWidth, clientWidth}) => scrollWidth > clientWidth"
        return bool(await self.page.locator("html").evaluate(script))

    async def assert_usable_by_everybody(self, *tags: str) -> None:
        """Checks axe-core's rules, or only those with one of these tags."""
        if not await self.page.evaluate("'axe' in window"):  # loading it takes longer than running it
            await self.page.evaluate(AXE_SCRIPT)
        options = {"resultTypes": ["violations"], **({"runOnly": list(tags)} if tags else {})}
        found = AxeResults(await self.page.evaluate("options => axe.run(options)", options))
        assert found.violations_count == 0, found.generate_report()

    def _heard(self, message: ConsoleMessage) -> None:
        expected = "Failed to load resource"  # what it says if a form gets a 422
        if message.type == "error" and not message.text.startswith(expected):
            self.complaints.append(message.text)


class Browsing:
    """Opens windows, and closes them after the test."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._visits: list[Visit] = []

    async def __call__(
        self, url: str = "", *, scheme: Scheme = "light", width: int = DESKTOP, scripts: bool = True
    ) -> Visit:
        visit = await Visit.begun(self._browser, scheme=scheme, width=width, scripts=scripts)
        self._visits.append(visit)
        if url:
            await visit.page.goto(url)
        return visit

    async def close(self) -> None:
        for visit in self._visits:
            await visit.context.close()

    def complaints(self) -> list[str]:
        return [complaint for visit in self._visits for complaint in visit.complaints]

    def foreign(self) -> list[str]:
        return [url for visit in self._visits for url in visit.foreign]
