"""HTTP for people with a browser: the pages, and the form that they send."""

from collections.abc import Sequence
from http import HTTPStatus
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Request
from starlette.responses import RedirectResponse, Response

from service.database.engine import DatabaseUnavailable
from service.signup.body import Precondition, StrictRequest, validate_form
from service.signup.handler import SignupHandler
from service.signup.pages import UNKNOWN, Pages
from service.signup.schemas import IdempotencyKey
from service.web.problems import Problem

TRAP = "website"  # a field that people do not see, and robots fill in
NEUTRAL = "/welcome"  # tells nothing


def add_routes(
    router: APIRouter, *, preconditions: Sequence[Precondition], handler: SignupHandler, pages: Pages
) -> None:
    @router.get("/", include_in_schema=False)
    async def signup_page(request: Request) -> Response:
        return pages.signup(request)

    @router.post("/signup", include_in_schema=False)
    async def send_form(
        request: Request, background: BackgroundTasks, idempotency_key: IdempotencyKey = None
    ) -> Response:
        """The same signup as the JSON route's; a problem is told on the page."""
        typed: dict[str, str] = {}
        try:
            for check in preconditions:
                check(request)
            typed = await StrictRequest(request.scope, request.receive).fields()
            if typed.pop(TRAP, ""):
                return _see(NEUTRAL)
            body = validate_form(typed)
            registered = await handler.handle(body, request, background, idempotency_key)
        except Problem as problem:
            return pages.signup(request, typed=typed, problem=problem)
        return _see(f"{NEUTRAL}/{registered.id}" if registered else NEUTRAL)

    @router.get(NEUTRAL, include_in_schema=False)
    async def neutral_page(request: Request) -> Response:
        return pages.welcome(request, user_id=None, state=UNKNOWN)

    @router.get(f"{NEUTRAL}/{{signup_id}}", include_in_schema=False)
    async def welcome_page(signup_id: str, request: Request) -> Response:
        """Whatever is not known looks like the neutral page."""
        user_id = _uuid(signup_id)
        state = await _state(handler, user_id) if user_id else UNKNOWN
        if state != UNKNOWN:
            request.state.user_id = user_id
        return pages.welcome(request, user_id=user_id, state=state)


async def _state(handler: SignupHandler, user_id: UUID) -> str:
    try:
        found = await handler.email_state(user_id)
    except DatabaseUnavailable:
        return UNKNOWN
    return found[0] if found else UNKNOWN


def _see(path: str) -> RedirectResponse:
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
