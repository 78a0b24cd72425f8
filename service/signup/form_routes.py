"""HTTP for people with a browser: the form and the page after it."""

from http import HTTPStatus
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.routing import Match
from starlette.types import Scope

from service.database.engine import DatabaseUnavailable
from service.runtime.ids import parse_id
from service.signup.handler import SignupHandler
from service.signup.pages import Pages
from service.signup.progress import Progress
from service.web.problems import accepts_html

FORM_PAGE = "/"
NEUTRAL = "/welcome"  # says nothing about the address


class PageRoute(APIRoute):
    """Matches only requests whose `Accept` names text/html."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child_scope = super().matches(scope)
        return (match, child_scope) if accepts_html(Headers(scope=scope)) else (Match.NONE, {})


def add_routes(router: APIRouter, *, handler: SignupHandler, pages: Pages) -> None:
    @router.get(FORM_PAGE, include_in_schema=False)
    async def signup_page(request: Request) -> Response:
        return pages.signup(request)

    async def back_to_form() -> Response:
        return see_other(FORM_PAGE)

    router.add_api_route(
        "/signup", back_to_form, methods=["GET"], include_in_schema=False, route_class_override=PageRoute
    )

    @router.get(NEUTRAL, include_in_schema=False)
    async def neutral_page(request: Request) -> Response:
        return pages.welcome(request, user_id=None, progress=None)

    @router.get(f"{NEUTRAL}/{{signup_id}}", include_in_schema=False)
    async def welcome_page(signup_id: str, request: Request) -> Response:
        """An unknown id looks like the neutral page."""
        user_id = parse_id(signup_id)
        progress = await _progress(handler, user_id) if user_id else None
        if progress:
            request.state.user_id = user_id
        return pages.welcome(request, user_id=user_id, progress=progress)


def see_other(path: str) -> RedirectResponse:
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)


async def _progress(handler: SignupHandler, user_id: UUID) -> Progress | None:
    try:
        return await handler.progress(user_id)
    except DatabaseUnavailable:
        return None
