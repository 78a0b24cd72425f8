"""HTTP in front of the use case, and nothing else."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Request, Response
from pydantic import BaseModel

from service.database.email_status import EmailStatus
from service.database.engine import DatabaseUnavailable
from service.observability.metrics import Metrics
from service.settings import DuplicatePolicy
from service.signup import form_routes
from service.signup.body import FORM, JSON, wants_page
from service.signup.form_routes import NEUTRAL, see_other
from service.signup.handler import RETRY_AFTER, SignupHandler
from service.signup.pages import Pages
from service.signup.preconditions import Precondition
from service.signup.registration import RegisteredUser
from service.signup.route import SignupRoute
from service.signup.schemas import (
    ACCEPTED,
    IdempotencyKey,
    SignupAccepted,
    SignupConfirmation,
    SignupRequest,
    SignupState,
)
from service.web.openapi import problem_responses, with_headers
from service.web.problems import Problem, ProblemType

TAGS: list[str | Enum] = ["signup"]
REFUSED = (
    ProblemType.UNPARSABLE,
    ProblemType.MALFORMED,
    ProblemType.FOREIGN_FORM,
    ProblemType.TIMEOUT,
    ProblemType.TOO_LARGE,
    ProblemType.UNSUPPORTED_MEDIA_TYPE,
    ProblemType.INVALID,
    ProblemType.RATE_LIMITED,
    ProblemType.UNAVAILABLE,
    ProblemType.OVERLOADED,
    ProblemType.PAUSED,
)

# Besides JSON, which FastAPI describes.
FORM_TOO: dict[str, Any] = {
    "requestBody": {
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "email": {"type": "string", "format": "email", "maxLength": 254},
                        "name": {"type": "string", "maxLength": 100, "description": "Empty is none."},
                    },
                    "required": ["email"],
                    "additionalProperties": False,
                }
            }
        }
    }
}
SEE_OTHER: dict[int | str, dict[str, Any]] = {
    303: {
        "description": "For a form whose `Accept` names `text/html`: the page `/welcome/{id}`.",
        "headers": with_headers("Location"),
    }
}
BY_POLICY: dict[DuplicatePolicy, dict[str, Any]] = {
    DuplicatePolicy.CONFLICT: {
        "status_code": 201,
        "response_model": SignupConfirmation,
        "response_description": "The user is on disk.",
        "responses": {201: {"headers": with_headers("Location")}}
        | SEE_OTHER
        | problem_responses(
            *REFUSED,
            ProblemType.ADDRESS_TAKEN,
            ProblemType.KEY_REUSED,
            ProblemType.MAILBOX_RATE_LIMITED,
        ),
        "description": "Stores the user and answers at once. The welcome email follows by itself.",
    },
    DuplicatePolicy.UNIFORM: {
        "status_code": 202,
        "response_model": SignupAccepted,
        "response_description": "The user is on disk.",
        "responses": SEE_OTHER | problem_responses(*REFUSED),
        "description": "Stores the user if the address is new. A known address gets the same answer.",
    },
}


def add_routes(
    router: APIRouter,
    *,
    policy: DuplicatePolicy,
    preconditions: Sequence[Precondition],
    handler: SignupHandler,
    pages: Pages,
    metrics: Metrics,
) -> None:
    class Route(SignupRoute):
        pass

    Route.preconditions = preconditions
    Route.metrics = metrics
    Route.answer_trapped = _accepted

    async def signup(
        body: SignupRequest, request: Request, idempotency_key: IdempotencyKey = None
    ) -> Response:
        background = BackgroundTasks()
        registered = await handler.handle(body, request, background, idempotency_key)
        return _confirmed(request, registered, background) if registered else _accepted(request)

    router.add_api_route(
        "/signup",
        signup,
        methods=["POST"],
        operation_id="signUp",
        summary="Sign up",
        route_class_override=Route,
        tags=TAGS,
        openapi_extra=FORM_TOO,
        **BY_POLICY[policy],
    )

    @router.get(
        "/signup/{signup_id}",
        tags=TAGS,
        operation_id="getSignup",
        summary="What became of the welcome email",
        responses=problem_responses(ProblemType.NOT_FOUND, ProblemType.UNAVAILABLE),
    )
    async def signup_state(signup_id: str, request: Request) -> SignupState:
        """What became of the welcome email."""
        user_id = _uuid(signup_id)
        try:
            found = await handler.email_state(user_id)
        except DatabaseUnavailable as exc:
            raise Problem(ProblemType.UNAVAILABLE, headers=RETRY_AFTER) from exc
        if found is None:
            raise Problem(ProblemType.NOT_FOUND)
        request.state.user_id = user_id
        status, finished_at = found
        return SignupState(
            id=user_id,
            welcome_email=EmailStatus(status),
            sent_at=finished_at if status == EmailStatus.SENT else None,
        )

    form_routes.add_routes(router, handler=handler, pages=pages)


def _confirmed(request: Request, registered: RegisteredUser, background: BackgroundTasks) -> Response:
    if wants_page(request):
        response: Response = see_other(f"{NEUTRAL}/{registered.id}")
        response.background = background
        return response
    return _answer(
        201,
        SignupConfirmation.of(registered),
        background=background,
        headers={"Location": f"/signup/{registered.id}"},
    )


def _accepted(request: Request) -> Response:
    """Says nothing about the address."""
    return see_other(NEUTRAL) if wants_page(request) else _answer(202, SignupAccepted(message=ACCEPTED))


def _answer(
    status: int,
    content: BaseModel,
    *,
    headers: Mapping[str, str] | None = None,
    background: BackgroundTasks | None = None,
) -> Response:
    return Response(content.model_dump_json(), status, headers, JSON, background)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as exc:
        raise Problem(ProblemType.NOT_FOUND) from exc
