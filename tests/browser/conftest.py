"""A real browser, and `signup-service up` for it. Each test worker has one of each."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright, expect

from tests.browser.site import Site, started
from tests.browser.window import TIMEOUT_MS, Browsing, executable


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    path = executable()
    if path is None:
        pytest.skip(
            "there is no Chromium here: apt-get install chromium-headless-shell, or name one in CHROMIUM"
        )
    async with async_playwright() as playwright:
        expect.set_options(timeout=TIMEOUT_MS)
        browser = await playwright.chromium.launch(executable_path=path, args=["--disable-gpu"])
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _up(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with started(folder=tmp_path_factory.mktemp("up")) as site:
        yield site


@pytest_asyncio.fixture(loop_scope="session")
async def site(_up: Site) -> Site:
    """A site with an empty inbox."""
    await _up.empty_inbox()
    return _up


@pytest_asyncio.fixture(loop_scope="session")
async def visit(chromium: Browser) -> AsyncIterator[Browsing]:
    """Opens a window. No page may load anything from elsewhere, or log an error."""
    browsing = Browsing(chromium)
    yield browsing
    await browsing.close()
    assert browsing.foreign() == []
    assert browsing.complaints() == []
