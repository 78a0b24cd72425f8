"""The routes POST /signup and GET /signup/{id}: they translate between HTTP and the handler."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import Enum

from fastapi import APIRouter, BackgroundTasks, Request, Response
from pydantic import BaseModel

from service.database.engine import DatabaseUnavailable
from service.observability.metrics import Metrics
from service.runtime.ids import parse_id
from service.settings import DuplicatePolicy
from service.signup import form_routes
from service.signup.body import JSON, wants_page
from service.signup.form_routes import NEUTRAL, see_other
from service.signup.handler import RETRY_AFTER, SignupHandler
from service.signup.openapi import FORM_BODY, route_options
from service.signup.pages import Pages
from service.signup.preconditions import Precondition
from service.signup.registration import RegisteredUser
from service.signup.schemas import (
    ConfirmableState,
    IdempotencyKey,
    SignupAccepted,
    SignupConfirmation,
    SignupRequest,
    SignupState,
    SignupToConfirm,
)
from service.signup.signup_route import PATH, SignupRoute
from service.web.openapi import problem_responses
from service.web.problems import Problem, ProblemType

TAGS: list[str | Enum] = ["signup"]


def add_routes(
    router: APIRouter,
    *,
    policy: DuplicatePolicy,
    asks_to_confirm: bool,
    preconditions: Sequence[Precondition],
    handler: SignupHandler,
    pages: Pages,
    metrics: Metrics,
) -> None:
    def accept(request: Request) -> Response:
        """Says nothing about the address."""
        if wants_page(request):
            return see_other(NEUTRAL)
        language, translate = pages.translator(request)
        accepted = SignupAccepted(message=translate(pages.accepted))
        return _answer(202, accepted, headers={"Content-Language": language})

    class Route(SignupRoute):
        pass

    Route.preconditions = preconditions
    Route.metrics = metrics
    Route.answer_trapped = accept

    def answer(request: Request, registered: RegisteredUser, background: BackgroundTasks) -> Response:
        if wants_page(request):
            response: Response = see_other(f"{NEUTRAL}/{registered.id}")
            response.background = background
            return response
        model = SignupToConfirm if asks_to_confirm else SignupConfirmation
        headers = {"Location": f"/signup/{registered.id}"}
        return _answer(201, model.of(registered), background=background, headers=headers)

    async def signup(
        body: SignupRequest, request: Request, idempotency_key: IdempotencyKey = None
    ) -> Response:
        background = BackgroundTasks()
        registered = await handler.handle(body, request, background, idempotency_key)
        return answer(request, registered, background) if registered else accept(request)

    router.add_api_route(
        PATH,
        signup,
        methods=["POST"],
        operation_id="signUp",
        summary="Sign up",
        route_class_override=Route,
        tags=TAGS,
        openapi_extra=FORM_BODY,
        **route_options(policy, asks_to_confirm=asks_to_confirm),
    )

    state_model = ConfirmableState if asks_to_confirm else SignupState

    @router.get(
        "/signup/{signup_id}",
        tags=TAGS,
        operation_id="getSignup",
        summary="What became of the welcome email",
        response_model=state_model,
        responses=problem_responses(ProblemType.NOT_FOUND, ProblemType.UNAVAILABLE),
    )
    async def signup_state(signup_id: str, request: Request) -> SignupState:
        """What became of the welcome email."""
        user_id = parse_id(signup_id)
        try:
            found = await handler.progress(user_id) if user_id else None
        except DatabaseUnavailable as exc:
            raise Problem(ProblemType.UNAVAILABLE, headers=RETRY_AFTER) from exc
        if user_id is None or found is None:
            raise Problem(ProblemType.NOT_FOUND)
        request.state.user_id = user_id
        return state_model.model_validate({"id": user_id, **asdict(found)})

    form_routes.add_routes(router, handler=handler, pages=pages)


def _answer(
    status: int,
    content: BaseModel,
    *,
    headers: Mapping[str, str] | None = None,
    background: BackgroundTasks | None = None,
) -> Response:
    return Response(content.model_dump_json(), status, headers, JSON, background)
