"""Every error as RFC 9457 problem details, the frameworks' own included."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any
from uuid import uuid4

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

CLIENT_LEFT = 499  # the status of an answer that nobody reads; the audit does
STATE_KEY = "problem"  # in a request's state: the Kind of problem that the server found in the request itself
PAGE = "text/html"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

log = structlog.get_logger()


class ProblemType(Enum):
    """The fixed list of problem types: status, slug, and what to tell a person.

    The first of a status is the one for errors of the frameworks with that status.
    """

    UNPARSABLE = 400, "unparsable", "The body is not valid JSON."
    MALFORMED = 400, "malformed", "This is not a request in HTTP/1.1."
    PREFLIGHT_REFUSED = 400, "preflight-refused", "This origin may not ask this; see CORS_ORIGINS."
    UNAUTHORIZED = 401, "unauthorized", "This needs the operator's token."
    FOREIGN_FORM = 403, "foreign-form", "This form was sent from another site."
    NOT_FOUND = 404, "not-found", "There is nothing here."
    METHOD_NOT_ALLOWED = 405, "method-not-allowed", "This address does not take that method."
    TIMEOUT = 408, "timeout", "The request did not arrive in time."
    ADDRESS_TAKEN = 409, "address-taken", "This address has signed up already."
    TOO_LARGE = 413, "too-large", "The body is larger than a signup can be."
    UNSUPPORTED_MEDIA_TYPE = 415, "unsupported-media-type", "Send application/json, or a urlencoded form."
    INVALID = 422, "invalid", "Some values cannot be accepted; errors lists them."
    KEY_REUSED = 422, "key-reused", "This Idempotency-Key stands for another signup; use a new one."
    RATE_LIMITED = 429, "rate-limited", "Too many signups from this network; try again later."
    MAILBOX_RATE_LIMITED = 429, "mailbox-rate-limited", "Too many signups for this mailbox; try again later."
    HEADERS_TOO_LARGE = 431, "headers-too-large", "The headers are larger than any request needs."
    INTERNAL = 500, "internal", "The service failed; the request_id helps to find out why."
    UNAVAILABLE = 503, "unavailable", "The service cannot store anything right now; try again."
    OVERLOADED = 503, "overloaded", "Too many signups at once; try again."
    PAUSED = 503, "paused", "Signups are paused; try again later."
    OTHER = 0, "http", "The request could not be answered."

    def __init__(self, status: int, slug: str, detail: str) -> None:
        self.status = status
        self.slug = slug
        self.detail = detail

    @property
    def uri(self) -> str:
        """A relative reference: it names the problem wherever the service stands."""
        return f"/problems/{self.slug}"

    @property
    def title(self) -> str:
        return self.slug.replace("-", " ").capitalize()


KINDS_BY_STATUS = {problem_type.status: problem_type for problem_type in reversed(ProblemType)}


class InvalidField(BaseModel):
    loc: list[str | int] = Field(examples=[["body", "email"]])
    msg: str = Field(examples=["This is not an email address that mail can be sent to."])
    type: str = Field(examples=["email"])


class ProblemDetails(BaseModel):
    """RFC 9457. `type` is one of a fixed list, for programs to branch on."""

    type: str = Field(
        examples=[ProblemType.ADDRESS_TAKEN.uri],
        json_schema_extra={"enum": [problem_type.uri for problem_type in ProblemType]},
    )
    title: str = Field(examples=[ProblemType.ADDRESS_TAKEN.title])
    status: int = Field(examples=[409])
    detail: str = Field(examples=[ProblemType.ADDRESS_TAKEN.detail])
    instance: str = Field(examples=["urn:uuid:0190b6d7-6d24-7a57-9f4a-0d8c6f2f2a11"])
    request_id: str = Field(examples=["0190b6d76d247a579f4a0d8c6f2f2a11"])
    errors: list[InvalidField] | None = None


class Problem(HTTPException):
    """Raise it from anywhere below the route."""

    def __init__(
        self,
        problem_type: ProblemType,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[InvalidField] = (),
    ) -> None:
        super().__init__(problem_type.status, problem_type.detail, headers)
        self.problem_type = problem_type
        self.errors = errors


class ProblemResponse(JSONResponse):
    media_type = "application/problem+json"

    def __init__(
        self,
        problem_type: ProblemType,
        *,
        request_id: str,
        detail: str = "",
        status: int = 0,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[InvalidField] = (),
    ) -> None:
        details = ProblemDetails(
            type=problem_type.uri,
            title=problem_type.title,
            status=status or problem_type.status,
            detail=detail or problem_type.detail,
            instance=f"urn:uuid:{uuid4()}",
            request_id=request_id,
            errors=list(errors) or None,
        )
        super().__init__(details.model_dump(exclude_none=True), status or problem_type.status, headers)


def problem_app(
    problem_type: ProblemType, *, detail: str = "", headers: Mapping[str, str] | None = None
) -> ASGIApp:
    """An app that answers with nothing else."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        answer = ProblemResponse(
            problem_type, request_id=scope["state"]["request_id"], detail=detail, headers=headers
        )
        await answer(scope, receive, send)

    return refuse


def problem_responses(*kinds: ProblemType, on_pages: bool = False) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: what a route may answer besides its success, to forms `on_pages`."""
    content = {ProblemResponse.media_type: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    if on_pages:
        content[PAGE] = {"schema": {"type": "string"}}
    by_status: dict[int | str, dict[str, Any]] = {}
    for problem_type in kinds:
        described = by_status.setdefault(
            problem_type.status, {"description": "", "model": ProblemDetails, "content": content}
        )
        described["description"] += f"`{problem_type.uri}`: {problem_type.detail} "
    return by_status


def install_handlers(app: FastAPI) -> None:
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _bug)


async def _http_error(request: Request, exc: Exception) -> ProblemResponse:
    assert isinstance(exc, HTTPException)  # noqa: S101  # what it is installed for; the signature is Starlette's
    if isinstance(exc, Problem):
        problem_type, errors = exc.problem_type, exc.errors
    else:
        problem_type, errors = KINDS_BY_STATUS.get(exc.status_code, ProblemType.OTHER), ()
    headers = {"Allow": _allowed(request)} if problem_type is ProblemType.METHOD_NOT_ALLOWED else exc.headers
    return ProblemResponse(
        problem_type, status=exc.status_code, request_id=_request_id(request), headers=headers, errors=errors
    )


async def _invalid(request: Request, exc: Exception) -> ProblemResponse:
    assert isinstance(exc, RequestValidationError)  # noqa: S101  # as above
    errors: list[InvalidField] = []
    for error in exc.errors():
        field = InvalidField(loc=_known_loc(error), msg=_quiet(error), type=error["type"])
        if field not in errors:  # a thousand unknown fields are one mistake
            errors.append(field)
    return ProblemResponse(ProblemType.INVALID, request_id=_request_id(request), errors=errors)


async def _bug(request: Request, exc: Exception) -> ProblemResponse:
    log.error("request.failed", request_id=_request_id(request), exc_info=exc)
    return ProblemResponse(ProblemType.INTERNAL, request_id=_request_id(request))


def _allowed(request: Request) -> str:
    """Starlette looks at the first route of a path alone, and there may be one for each method."""
    return ", ".join(
        method
        for method in METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    )


def _known_loc(error: Mapping[str, Any]) -> list[str | int]:
    """The name of an unknown field is the client's text, and is not repeated."""
    loc = list(error["loc"])
    return loc[:1] if error["type"] == "extra_forbidden" else loc


def _quiet(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "There are only email and name; other fields are not accepted."
    return str(error["msg"])


def _request_id(request: Request) -> str:
    return str(request.state.request_id)
