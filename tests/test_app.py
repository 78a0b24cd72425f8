"""How the routes hang in the app."""

from fastapi.routing import APIRoute
from starlette.routing import Route

from service.app import create_app
from service.settings import Settings


def test_a_signup_is_the_first_route_and_none_is_nested(settings: Settings) -> None:
    first, *others = create_app(settings).routes

    assert isinstance(first, APIRoute)
    assert (first.path, first.methods) == ("/signup", {"POST"})
    assert {type(route) for route in others} <= {APIRoute, Route}
