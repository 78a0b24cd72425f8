"""What whoever writes templates looks at."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from service.mail import preview
from service.settings import Settings
from tests.support.page import Page


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.include_router(preview.routes(Settings(product_name="Analytical Engines", templates_dir=tmp_path)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def test_shows_headers_and_text_and_frames_of_the_html(browser: httpx.AsyncClient) -> None:
    page = Page((await browser.get(preview.PATH, params={"language": "de", "name": "Grace"})).text)

    assert page.says("Hallo Grace,")
    assert page.says("Willkommen bei Analytical Engines")
    frames = page.all("iframe")
    assert [frame["class"] for frame in frames] == [
        f"{width} {scheme}" for width in ("phone", "desktop") for scheme in ("light", "dark")
    ]
    mail = await browser.get(frames[0]["src"] or "")
    assert Page(mail.text).says("Hallo Grace,")
    assert mail.headers["Content-Security-Policy"].startswith("sandbox")


async def test_offers_both_mails_and_every_language(browser: httpx.AsyncClient) -> None:
    page = Page((await browser.get(preview.PATH)).text)

    assert [option.get("value") for option in page.all("option")] == ["welcome", "confirm", None, None]
    assert page.says("Hello Ada,")


@pytest.mark.parametrize(
    ("language", "button"), [("en", "Confirm my address"), ("de", "Meine Adresse bestätigen")]
)
async def test_shows_the_confirmation_mail(browser: httpx.AsyncClient, language: str, button: str) -> None:
    chosen = {"mail": "confirm", "language": language}
    page = Page((await browser.get(preview.PATH, params=chosen)).text)

    assert page.says(f"{button}:")
    assert page.one("option", value="confirm").keys() == {"value", "selected"}
    mail = Page((await browser.get(page.all("iframe")[0]["src"] or "")).text)
    assert mail.says(button)
    assert (mail.one("a")["href"] or "").startswith("http://127.0.0.1:8000/confirm/")


async def test_a_changed_template_shows_at_once_and_a_broken_one_is_named(
    browser: httpx.AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "welcome.txt").write_text("Ahoy {{ name }}")
    assert Page((await browser.get(preview.PATH)).text).says("Ahoy Ada")

    (tmp_path / "welcome.txt").write_text("Ahoy {{ nmae }}")

    trouble = Page((await browser.get(preview.PATH)).text)
    assert "'nmae'" in trouble.words
    assert not trouble.all("iframe")


async def test_is_there_under_up_alone(client: httpx.AsyncClient) -> None:
    assert (await client.get(preview.PATH)).status_code == 404
