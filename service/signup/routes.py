"""HTTP in front of the use case, and nothing else."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Header, Request, Response

from service.batching import Overloaded
from service.database import DatabaseAway
from service.languages import preferred
from service.metrics import Metrics
from service.models import EmailStatus
from service.problems import Kind, Problem, responses
from service.signup import browser, forms
from service.signup.pages import Pages
from service.signup.register import AddressTaken, KeyReused, Registered, Signup, Signups
from service.signup.requests import FORM, StrictRoute
from service.signup.schemas import SignupConfirmation, SignupRequest, SignupState
from service.welcome.delivery import Delivery
from service.welcome.outbox import Outbox

UNAVAILABLE = 503
RETRY_AFTER = {"Retry-After": "2"}  # s
REFUSALS: dict[type[BaseException], Kind] = {
    AddressTaken: Kind.ADDRESS_TAKEN,
    KeyReused: Kind.KEY_REUSED,
    Overloaded: Kind.OVERLOADED,
    DatabaseAway: Kind.UNAVAILABLE,
}

# OpenAPI shows one of two routes on a path: what the form's adds to it.
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
    303: {"description": "To a form: the page `/welcome/{id}`. A form's errors are pages too."}
}

IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="Makes a repeated request safe: the same key and body get the same answer.",
    ),
]


def routes(
    *,
    signups: Signups,
    outbox: Outbox,
    delivery: Delivery,
    metrics: Metrics,
    pages: Pages,
    origins: frozenset[str],
    languages: frozenset[str],
) -> APIRouter:
    """`origins` may send the form; `languages` are those that the mail is there in."""
    router = APIRouter(tags=["signup"])
    strict = APIRouter(route_class=StrictRoute, tags=["signup"])

    @strict.post(
        "/signup",
        status_code=201,
        openapi_extra=FORM_TOO,
        responses=SEE_OTHER
        | responses(
            Kind.UNPARSABLE,
            Kind.FOREIGN_FORM,
            Kind.TIMEOUT,
            Kind.ADDRESS_TAKEN,
            Kind.TOO_LARGE,
            Kind.UNSUPPORTED_MEDIA_TYPE,
            Kind.INVALID,
            Kind.KEY_REUSED,
            Kind.UNAVAILABLE,
            Kind.OVERLOADED,
        ),
    )
    async def signup(
        body: SignupRequest,
        request: Request,
        response: Response,
        background: BackgroundTasks,
        idempotency_key: IdempotencyKey = None,
    ) -> SignupConfirmation:
        """Stores the user and answers at once; the welcome email follows by itself."""
        registered = await accept(body, request, background, idempotency_key)
        response.headers["Location"] = f"/signup/{registered.id}"
        return SignupConfirmation.of(registered)

    async def accept(
        body: SignupRequest,
        request: Request,
        background: BackgroundTasks,
        idempotency_key: str | None = None,
    ) -> Registered:
        registered = await register(
            Signup(
                address=body.email,
                name=body.name,
                request_id=request.state.request_id,
                locale=preferred(request.headers.get("accept-language", ""), languages),
                idempotency_key=idempotency_key,
            )
        )
        if registered.welcome:
            background.add_task(delivery.deliver, registered.welcome)
        request.state.user_id = registered.id
        return registered

    async def register(signup: Signup) -> Registered:
        try:
            registered = await signups.register(signup)
        except tuple(REFUSALS) as exc:
            kind = REFUSALS[type(exc)]
            metrics.signups.labels(kind.slug).inc()
            raise Problem(kind, headers=RETRY_AFTER if kind.status == UNAVAILABLE else None) from exc
        metrics.signups.labels("registered").inc()
        return registered

    @router.get("/signup/{signup_id}", responses=responses(Kind.NOT_FOUND, Kind.UNAVAILABLE))
    async def signup_state(signup_id: str, request: Request) -> SignupState:
        """What became of the welcome email."""
        user_id = _uuid(signup_id)
        try:
            found = await outbox.of_user(user_id)
        except DatabaseAway as exc:
            raise Problem(Kind.UNAVAILABLE, headers=RETRY_AFTER) from exc
        if found is None:
            raise Problem(Kind.NOT_FOUND)
        request.state.user_id = user_id
        status, finished_at = found
        return SignupState(
            id=user_id,
            welcome_email=EmailStatus(status),
            sent_at=finished_at if status == EmailStatus.SENT else None,
        )

    router.include_router(strict)
    browser.add_routes(
        router,
        pages=pages,
        accept=accept,
        outbox=outbox,
        checks=(*StrictRoute.checks, forms.check_origin(origins)),
    )
    return router


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as exc:
        raise Problem(Kind.NOT_FOUND) from exc
