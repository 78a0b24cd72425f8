"""What stands around the app."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service.web.middleware import (
    AllowedHostsMiddleware,
    CorsMiddleware,
    NoStoreMiddleware,
    PublicPathMiddleware,
)

ASKED = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}

app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("ok"))])


async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
    scope["state"] = {"request_id": "r1"}
    await AllowedHostsMiddleware(app, hosts={"engines.example.com", "Ada-PC"})(scope, receive, send)


async def status(host: str) -> int:
    transport = httpx.ASGITransport(with_state)
    async with httpx.AsyncClient(transport=transport, base_url="http://192.168.1.5:8000") as client:
        return (await client.get("/", headers={"Host": host})).status_code


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST:8000", "127.0.0.1:8000", "127.1.2.3", "[::1]:8000"),
        *("engines.example.com", "ada-pc:8000", "192.168.1.5:8000"),
    ],
)
async def test_up_answers_its_own_names(host: str) -> None:
    assert await status(host) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "192.168.1.6", "[", "a@b:c"],
)
async def test_up_answers_no_other_name(host: str) -> None:
    assert await status(host) == 404


async def test_a_refused_preflight_leaves_a_line_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    cors = CorsMiddleware(app, allow_origins=["https://app.example.com"], allow_methods=["GET", "POST"])

    async def with_id(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"request_id": "r1"}
        await cors(scope, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(with_id), base_url="http://test") as client:
        answers = [await client.options("/", headers=ASKED) for _ in range(3)]

    assert {answer.status_code for answer in answers} == {400}
    [line] = capsys.readouterr().out.splitlines()
    assert "cors.preflight_refused" in line
    assert "https://evil.example" in line


async def test_what_says_how_it_may_be_kept_is_left_alone() -> None:
    kept = Starlette(
        routes=[Route("/", lambda _: PlainTextResponse("ok", headers={"Cache-Control": "max-age=60"}))]
    )
    transport = httpx.ASGITransport(NoStoreMiddleware(kept))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/")).headers.get_list("Cache-Control") == ["max-age=60"]


@pytest.mark.parametrize(
    ("location", "seen"),
    [("/welcome", "/join/welcome"), ("https://example.com/thanks", "https://example.com/thanks")],
)
async def test_the_path_of_the_public_url_is_put_in_front_of_a_location(location: str, seen: str) -> None:
    redirecting = Starlette(routes=[Route("/", lambda _: RedirectResponse(location, 303))])
    transport = httpx.ASGITransport(PublicPathMiddleware(redirecting, path="/join"))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/")).headers["Location"] == seen
