"""The interactive documentation, without internet and under its content security policy."""

import json

import pytest
from playwright.async_api import expect

from tests.browser.pages import somebody
from tests.browser.site import Site
from tests.browser.window import Browsing

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_developer_tries_a_signup_in_it(site: Site, visit: Browsing) -> None:
    page = (await visit(f"{site.url}/docs")).page

    await page.get_by_role("button", name="POST /signup Sign up").click()
    body = page.locator("textarea").first
    assert json.loads(await body.input_value()) == {"email": "ada@example.com", "name": "Ada"}
    await body.fill(f'{{"email": "{somebody()}"}}')
    await page.get_by_role("button", name="Execute").click()

    await expect(page.locator(".live-responses-table .response-col_status").last).to_have_text("201")
