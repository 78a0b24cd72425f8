"""What is true of every page."""

import pytest

from tests.browser.pages import PAGES, Way
from tests.browser.site import Site
from tests.browser.window import DESKTOP, PHONE, Browsing, brightness

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("way", PAGES.values(), ids=PAGES)
async def test_it_suits_a_phone_by_day_and_a_desktop_by_night(site: Site, visit: Browsing, way: Way) -> None:
    window = await visit(scheme="light", width=PHONE)
    await way(site, window.page)
    assert await brightness(window.page.locator("body")) > 192
    assert not await window.is_scrolled_sideways()
    await window.assert_usable_by_everybody()

    await window.becomes(scheme="dark", width=DESKTOP)

    assert await brightness(window.page.locator("body")) < 64
    assert not await window.is_scrolled_sideways()
    await window.assert_usable_by_everybody()
