"""Every error as RFC 9457 problem details, the frameworks' own included."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, StrEnum
from uuid import uuid4

from pydantic import BaseModel, Field
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.person.reason import Reason

CLIENT_LEFT = 499  # for the audit: the client did not wait for its answer
STATE_KEY = "problem"  # in a request's state: the type of problem that the server found in the request itself
HTML = "text/html"
MOMENT, MINUTE, HOUR = 10, 60, 3600  # s

Translate = Callable[[str], str]  # a sentence into the language of the client
OnProblem = Callable[[Scope, "ProblemType"], None]


class ProblemType(Enum):
    """The fixed list of problem types: status, slug, and what to say to a person.

    The first of a status is the one for errors of the frameworks with that status.
    """

    UNPARSABLE = 400, "unparsable", "The body is not valid JSON."
    MALFORMED = 400, "malformed", "This is not a valid HTTP/1.1 request."
    PREFLIGHT_REFUSED = 400, "preflight-refused", "This origin may not ask this; see CORS_ORIGINS."
    UNAUTHORIZED = 401, "unauthorized", "This needs the operator's token."
    FOREIGN_FORM = (
        403,
        "foreign-form",
        "This form was sent from another site. Please use the form on our page.",
    )
    NOT_FOUND = 404, "not-found", "There is nothing at this URL."
    LINK_UNKNOWN = (
        404,
        "link-unknown",
        "This link doesn't work. It may have been cut off, or the signup was removed.",
    )
    METHOD_NOT_ALLOWED = 405, "method-not-allowed", "This URL does not accept that method."
    TIMEOUT = 408, "timeout", "The request took too long to arrive. Please send it again."
    ADDRESS_TAKEN = 409, "address-taken", "This address is already signed up."
    UNCONFIRMED = (
        409,
        "unconfirmed",
        "This address is signed up but not confirmed yet. We've sent you the link again.",
    )
    ALREADY_CONFIRMED = (
        409,
        "already-confirmed",
        "This address has been confirmed, so the link can no longer remove it. Please write to us to have it "
        "removed.",
    )
    LINK_EXPIRED = 410, "link-expired", "This link has expired. Please sign up again to get a new one."
    TOO_LARGE = 413, "too-large", "This is more than a signup can hold. Please shorten it."
    UNSUPPORTED_MEDIA_TYPE = (
        415,
        "unsupported-media-type",
        "Please send application/json or application/x-www-form-urlencoded.",
    )
    INVALID = 422, "invalid", "Some values were not accepted. The list of errors says which and why."
    KEY_REUSED = (
        422,
        "key-reused",
        "This Idempotency-Key was used for another signup. Please use a new one.",
    )
    RATE_LIMITED = 429, "rate-limited", "Too many people are signing up from your network."
    MAILBOX_RATE_LIMITED = 429, "mailbox-rate-limited", "There were too many signups for this mailbox."
    HEADERS_TOO_LARGE = (
        431,
        "headers-too-large",
        "The headers are larger than 64 KiB. Please delete this site's cookies and try again.",
    )
    INTERNAL = 500, "internal", "Something went wrong on our side. Please try again."
    UNAVAILABLE = 503, "unavailable", "We can't store anything right now."
    OVERLOADED = 503, "overloaded", "Many people are signing up right now."
    PAUSED = 503, "paused", "Signups are paused at the moment."
    OTHER = 0, "http", "The request could not be answered."

    def __init__(self, status: int, slug: str, detail: str) -> None:
        self.status = status
        self.slug = slug
        self.detail = detail

    @property
    def uri(self) -> str:
        """A relative reference: the same wherever the service runs."""
        return f"/problems/{self.slug}"

    @property
    def title(self) -> str:
        return self.slug.replace("-", " ").capitalize()


class TryAgain(StrEnum):
    """Sentences that say when to try again; `Retry-After` says it in seconds."""

    IN_A_MOMENT = "Please try again in a moment."
    IN_A_MINUTE = "Please try again in a minute."
    IN_MINUTES = "Please try again in {number} minutes."
    IN_AN_HOUR = "Please try again in an hour."
    IN_HOURS = "Please try again in {number} hours."


class InvalidField(BaseModel):
    loc: list[str | int] = Field(examples=[["body", "email"]])
    msg: str = Field(examples=[Reason.EMAIL_INVALID.sentence])
    type: Reason = Field(examples=[Reason.EMAIL_INVALID])


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
    """Raise it from anywhere below the route. `detail` replaces the type's own sentence."""

    def __init__(
        self,
        problem_type: ProblemType,
        *,
        detail: str = "",
        status: int = 0,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[InvalidField] = (),
    ) -> None:
        super().__init__(status or problem_type.status, detail or problem_type.detail, headers)
        self.problem_type = problem_type
        self.errors = errors

    def explain(self, translate: Translate) -> str:
        """What is wrong and when to try again, in the reader's language."""
        sentence = translate(self.detail)
        seconds = (self.headers or {}).get("Retry-After")
        return f"{sentence} {_describe_delay(int(seconds), translate)}" if seconds else sentence


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


def accepts_html(headers: Headers) -> bool:
    """Whether `Accept` names text/html, as browsers do for pages and programs for nothing."""
    for named in headers.get("accept", "").lower().split(","):
        kind, *parameters = (part.replace(" ", "") for part in named.split(";"))
        if kind.strip() == HTML:
            return not any(re.fullmatch(r"q=0(\.0*)?", parameter) for parameter in parameters)
    return False


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


def _describe_delay(seconds: int, translate: Translate) -> str:
    if seconds <= MOMENT:
        return translate(TryAgain.IN_A_MOMENT)
    if seconds <= MINUTE:
        return translate(TryAgain.IN_A_MINUTE)
    if seconds <= HOUR - MINUTE:
        return translate(TryAgain.IN_MINUTES).replace("{number}", str(math.ceil(seconds / MINUTE)))
    if seconds <= HOUR:
        return translate(TryAgain.IN_AN_HOUR)
    return translate(TryAgain.IN_HOURS).replace("{number}", str(math.ceil(seconds / HOUR)))
