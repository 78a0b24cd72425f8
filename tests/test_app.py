"""How the parts are put together."""

from pathlib import Path

from fastapi.routing import APIRoute
from starlette.routing import Mount, Route

from service.app import create_app
from service.settings import Settings
from tests.support.app import running


def test_creating_an_app_touches_no_file(tmp_path: Path) -> None:
    create_app(Settings(data_dir=tmp_path / "data"))

    assert list(tmp_path.iterdir()) == []


def test_no_route_is_nested(settings: Settings) -> None:
    assert all(isinstance(route, APIRoute | Mount | Route) for route in create_app(settings).routes)


async def test_head_works_where_get_does(settings: Settings) -> None:
    async with running(settings) as live:
        for path in (
            "/",
            "/healthz",
            "/readyz",
            "/metrics",
            "/welcome",
            "/docs",
            "/openapi.json",
            "/nowhere",
        ):
            head, get = await live.client.head(path), await live.client.get(path)

            assert head.status_code == get.status_code
            assert head.headers["Content-Type"] == get.headers["Content-Type"]


async def test_a_method_that_a_path_does_not_take_is_answered_with_those_that_it_does(
    settings: Settings,
) -> None:
    async with running(settings) as live:
        for path, methods in (
            ("/healthz", "GET, HEAD"),
            ("/signup", "POST"),
            ("/signup/nobody", "GET, HEAD"),
        ):
            answer = await live.client.delete(path)

            assert (answer.status_code, answer.headers["Allow"]) == (405, methods)
