"""What a signup is refused for before its body is read, a form's as JSON's: the first reason is told."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.requests import Request

from service.limits.per_client import SignupLimit
from service.observability.metrics import Metrics
from service.settings import Settings
from service.signup.body import FORM, JSON, MAX_BODY, Precondition, media_type
from service.web.client_address import ClientAddresses
from service.web.problems import Problem, ProblemType

DEFAULT_PORTS = {"http": ":80", "https": ":443"}
RETRY_WHEN_RESUMED = {"Retry-After": "60"}  # s; a person has to end the pause


def build_preconditions(
    settings: Settings, *, limit: SignupLimit | None, clients: ClientAddresses, metrics: Metrics
) -> Sequence[Precondition]:
    """In their order. What is turned off costs nothing."""
    found = [_check_length, _check_type, _check_origin(form_origins(settings))]
    if settings.signups_paused:
        found.append(_refuse_all(metrics))
    if limit:
        found.append(_check_limit(limit, clients=clients, metrics=metrics))
    return found


def _check_length(request: Request) -> None:
    length = request.headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or int(length[:20]) > MAX_BODY:
        raise Problem(ProblemType.TOO_LARGE, headers={"Connection": "close"})


def _check_type(request: Request) -> None:
    if media_type(request.headers) not in (JSON, FORM) or "content-encoding" in request.headers:
        raise Problem(ProblemType.UNSUPPORTED_MEDIA_TYPE)


def _refuse_all(metrics: Metrics) -> Precondition:
    def check(_: Request) -> None:
        metrics.signups.labels(ProblemType.PAUSED.slug).inc()
        raise Problem(ProblemType.PAUSED, headers=RETRY_WHEN_RESUMED)

    return check


def _check_limit(limit: SignupLimit, *, clients: ClientAddresses, metrics: Metrics) -> Precondition:
    def check(request: Request) -> None:
        client = clients.limited(request.scope)
        if client and (seconds := limit.hit(client)):
            metrics.signups.labels(ProblemType.RATE_LIMITED.slug).inc()
            raise Problem(ProblemType.RATE_LIMITED, headers={"Retry-After": str(seconds)})

    return check


def form_origins(settings: Settings) -> frozenset[str]:
    """Those that may send the form, besides the host that it is sent to."""
    url = urlsplit(settings.public_url.lower())
    host = url.netloc.removesuffix(DEFAULT_PORTS[url.scheme])  # as browsers write theirs
    return frozenset({f"{url.scheme}://{host}", *settings.cors_origins})


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
