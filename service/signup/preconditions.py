"""What a signup is refused for before its body is read, a form's as JSON's: the first reason is told."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.requests import Request

from service.limits.per_client import SignupLimit
from service.observability.metrics import Metrics
from service.settings import Settings
from service.signup.body import FORM, JSON, MAX_BODY, Check, media_type
from service.web.client_address import Clients
from service.web.problems import Kind, Problem

DEFAULT_PORTS = {"http": ":80", "https": ":443"}
RETRY_WHEN_RESUMED = {"Retry-After": "60"}  # s; a person has to end the pause


def checks(
    settings: Settings, *, limit: SignupLimit | None, clients: Clients, metrics: Metrics
) -> Sequence[Check]:
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
        raise Problem(Kind.TOO_LARGE, headers={"Connection": "close"})


def _check_type(request: Request) -> None:
    if media_type(request.headers) not in (JSON, FORM) or "content-encoding" in request.headers:
        raise Problem(Kind.UNSUPPORTED_MEDIA_TYPE)


def _refuse_all(metrics: Metrics) -> Check:
    def check(_: Request) -> None:
        metrics.signups.labels(Kind.PAUSED.slug).inc()
        raise Problem(Kind.PAUSED, headers=RETRY_WHEN_RESUMED)

    return check


def _check_limit(limit: SignupLimit, *, clients: Clients, metrics: Metrics) -> Check:
    def check(request: Request) -> None:
        client = clients.limited(request.scope)
        if client and (seconds := limit.wait(client)):
            metrics.signups.labels(Kind.RATE_LIMITED.slug).inc()
            raise Problem(Kind.RATE_LIMITED, headers={"Retry-After": str(seconds)})

    return check


def form_origins(settings: Settings) -> frozenset[str]:
    """Those that may send the form, besides the host that it is sent to."""
    url = urlsplit(settings.public_url.lower())
    host = url.netloc.removesuffix(DEFAULT_PORTS[url.scheme])  # as browsers write theirs
    return frozenset({f"{url.scheme}://{host}", *settings.cors_origins})


def _check_origin(allowed: frozenset[str]) -> Check:
    """Refuses what a foreign page made somebody's browser send. JSON it cannot send: that is CORS's."""

    def check(request: Request) -> None:
        if media_type(request.headers) == FORM and not _is_from_here(request, allowed):
            raise Problem(Kind.FOREIGN_FORM)

    return check


def _is_from_here(request: Request, allowed: frozenset[str]) -> bool:
    origin, host = request.headers.get("origin"), request.headers.get("host", "")
    if origin is None or request.headers.get("sec-fetch-site") == "same-origin":
        return True
    origin = origin.lower()
    return origin in allowed or "*" in allowed or origin.partition("://")[2] == (host.lower() or None)
