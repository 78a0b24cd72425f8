"""The example frontend, from an origin of its own."""

import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import pytest_asyncio
from playwright.async_api import Page, Route, expect

from tests.browser.pages import fill_in, somebody
from tests.browser.site import Site, started
from tests.browser.window import Browsing
from tests.support import npm
from tests.support.ports import free_port

pytestmark = pytest.mark.asyncio(loop_scope="session")

EXAMPLE = Path(__file__).parents[2] / "examples" / "frontend"
REACT = Path(__file__).parent / "react"
SENT = "Check your inbox: your welcome email has been sent."
AWAY = {
    "status": 503,
    "content_type": "application/problem+json",
    "headers": {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "Retry-After",
        "Retry-After": "1",
    },
    "body": json.dumps({"type": "/problems/unavailable", "detail": "We can't store anything right now."}),
}


@contextmanager
def served(folder: Path, *, port: int) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", port), partial(_Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield
    server.shutdown()
    thread.join()
    server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *_: object) -> None:
        pass


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def frontend(
    chromium: object, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Site, str]]:
    """A site, and the address of the example page that uses it."""
    folder, port = tmp_path_factory.mktemp("frontend") / "page", free_port()
    origin = f"http://127.0.0.1:{port}"
    shutil.copytree(EXAMPLE, folder)
    async with started(folder=tmp_path_factory.mktemp("site"), CORS_ORIGINS=origin) as site:
        page = folder / "index.html"
        page.write_text(page.read_text().replace("http://127.0.0.1:8000", site.url))
        root = f'<div id="root" data-url="{site.url}/signup"></div><script src="react.js"></script>'
        (folder / "react.html").write_text(
            f'<!doctype html><html lang="en"><title>React</title>{root}</html>'
        )
        with served(folder, port=port):
            yield site, origin


async def test_a_person_signs_up_from_another_origin(frontend: tuple[Site, str], visit: Browsing) -> None:
    (site, origin), address = frontend, somebody()
    page = (await visit(origin)).page

    await fill_in(page, email=address)

    await expect(page.get_by_role("status")).to_have_text(SENT)
    inbox = (await visit(site.inbox)).page
    await expect(inbox.get_by_role("link", name=address)).to_be_visible()


async def test_without_scripts_the_service_answers_with_its_page(
    frontend: tuple[Site, str], visit: Browsing
) -> None:
    page = (await visit(frontend[1], scripts=False)).page

    await fill_in(page, email=somebody())

    await expect(page.get_by_role("heading")).to_have_text("Check your inbox.")


async def test_errors_stand_beside_their_fields(frontend: tuple[Site, str], visit: Browsing) -> None:
    (site, origin), taken = frontend, somebody()
    await site.sign_up(taken)
    page = (await visit(origin)).page
    email, name = page.get_by_label("Email address"), page.get_by_label("Name")

    await fill_in(page, email="nobody", name="A" * 101)
    await expect(email).to_have_accessible_description(
        "Please enter a valid email address, such as ada@example.com."
    )
    await expect(name).to_have_accessible_description("A name has at most 100 characters.")
    await expect(email).to_be_focused()
    await fill_in(page, email=taken)

    await expect(email).to_have_accessible_description("This address is already signed up.")
    await expect(name).to_have_accessible_description("")


async def test_lost_answers_and_503_are_repeated_with_the_same_key(
    frontend: tuple[Site, str], visit: Browsing
) -> None:
    page, keys = (await visit(frontend[1])).page, list[str]()

    async def trouble(route: Route) -> None:
        if route.request.method == "POST":
            keys.append(route.request.headers["idempotency-key"])
        match len(keys):
            case 1:  # stored, and the answer is lost
                await route.fetch()
                await route.abort()
            case 2:
                await route.fulfill(**AWAY)  # type: ignore[arg-type]  # a table for its keywords
            case _:
                await route.continue_()

    await page.route("**/signup", trouble)
    await fill_in(page, email=somebody())

    await expect(page.get_by_role("status")).to_have_text(SENT)
    assert len(keys) == 3
    assert len(set(keys)) == 1


async def test_a_corrected_address_has_a_key_of_its_own(frontend: tuple[Site, str], visit: Browsing) -> None:
    page, keys = (await visit(frontend[1])).page, list[str]()
    page.on("request", lambda request: keys.append(request.headers.get("idempotency-key", "")))

    await fill_in(page, email="nobody")
    await expect(page.locator("[aria-invalid=true]")).to_have_count(1)
    await fill_in(page, email=somebody())

    await expect(page.get_by_role("status")).to_have_text(SENT)
    assert len({key for key in keys if key}) == 2


@pytest.fixture(scope="module")
def react(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A form that uses the hook, with React in one file."""
    folder = npm.install(REACT, folder=tmp_path_factory.mktemp("npm"))
    for file in EXAMPLE.glob("*.js"):
        shutil.copy(file, folder)
    bundle = ["node_modules/.bin/esbuild", "form.js", "--bundle", "--outfile=bundle.js"]
    subprocess.run(bundle, cwd=folder, check=True, capture_output=True)
    return folder / "bundle.js"


@pytest_asyncio.fixture(loop_scope="session")
async def react_page(frontend: tuple[Site, str], react: Path, visit: Browsing) -> Page:
    page = (await visit()).page
    await page.route("**/react.js", lambda route: route.fulfill(path=react))
    await page.goto(f"{frontend[1]}/react.html")
    return page


async def test_the_hook_signs_up_and_shows_errors(react_page: Page) -> None:
    await fill_in(react_page, email="nobody")
    await expect(react_page.get_by_role("alert")).to_have_text(
        "Please enter a valid email address, such as ada@example.com."
    )

    await fill_in(react_page, email=somebody())

    await expect(react_page.get_by_role("status")).to_have_text("sent")
    await expect(react_page.get_by_role("alert")).to_have_text("")
