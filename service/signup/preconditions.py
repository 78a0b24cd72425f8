"""What a signup is refused for before its body is read. If several reasons apply, the first is given."""

from collections.abc import Callable, Sequence
from enum import StrEnum

from starlette.requests import Request

from service.limits.per_client import SignupLimit
from service.settings import Settings
from service.settings.urls import origin_of
from service.signup.body import FORM, JSON, MAX_BODY, MULTIPART, media_type
from service.web.client_address import ClientAddresses
from service.web.problems import Problem, ProblemType

RETRY_WHEN_RESUMED = {"Retry-After": "300"}  # s; a person has to end the pause

Precondition = Callable[[Request], None]  # raises Problem


class TypeFault(StrEnum):
    """What is wrong with how a body is sent."""

    NO_TYPE = (
        "The Content-Type is missing. Please send application/json or application/x-www-form-urlencoded."
    )
    MULTIPART = (
        "This was sent as multipart/form-data. "
        "Please send application/json or application/x-www-form-urlencoded."
    )
    ENCODED = "No Content-Encoding is accepted. Please send the body as it is, without that header."


def build_preconditions(
    settings: Settings, *, limit: SignupLimit | None, clients: ClientAddresses
) -> Sequence[Precondition]:
    """In their order. What is turned off costs nothing."""
    found = [_check_length, _check_type, _check_origin(form_origins(settings))]
    if settings.signups_paused:
        found.append(_refuse_all)
    if limit:
        found.append(_check_limit(limit, clients=clients))
    return found


def _check_length(request: Request) -> None:
    length = request.headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or int(length[:20]) > MAX_BODY:
        raise Problem(ProblemType.TOO_LARGE, headers={"Connection": "close"})


def _check_type(request: Request) -> None:
    if "content-encoding" in request.headers:
        raise Problem(
            ProblemType.UNSUPPORTED_MEDIA_TYPE,
            detail=TypeFault.ENCODED,
            headers={"Accept-Encoding": "identity"},  # RFC 9110, section 12.5.3
        )
    sent = media_type(request.headers)
    if sent not in (JSON, FORM):
        details = {"": TypeFault.NO_TYPE, MULTIPART: TypeFault.MULTIPART}
        raise Problem(ProblemType.UNSUPPORTED_MEDIA_TYPE, detail=details.get(sent, ""))


def _refuse_all(_: Request) -> None:
    raise Problem(ProblemType.PAUSED, headers=RETRY_WHEN_RESUMED)


def _check_limit(limit: SignupLimit, *, clients: ClientAddresses) -> Precondition:
    def check(request: Request) -> None:
        client = clients.limit_network(request.scope)
        if client and (seconds := limit.hit(client)):
            raise Problem(ProblemType.RATE_LIMITED, headers={"Retry-After": str(seconds)})

    return check


def form_origins(settings: Settings) -> frozenset[str]:
    """The origins that may send the form, besides the host that it is sent to."""
    return frozenset({origin_of(settings.public_url), *settings.cors_origins})


def _check_origin(allowed: frozenset[str]) -> Precondition:
    """Refuses what a foreign page made somebody's browser send. JSON it cannot send: that is CORS's."""

    def check(request: Request) -> None:
        if media_type(request.headers) == FORM and not _is_from_here(request, allowed):
            raise Problem(ProblemType.FOREIGN_FORM)

    return check


def _is_from_here(request: Request, allowed: frozenset[str]) -> bool:
    origin, host = request.headers.get("origin"), request.headers.get("host", "")
    if origin is None or request.headers.get("sec-fetch-site") == "same-origin":
        return True
    origin = origin.lower()
    return origin in allowed or "*" in allowed or origin.partition("://")[2] == (host.lower() or None)
