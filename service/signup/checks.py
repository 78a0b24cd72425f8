"""What a signup is refused for before its body is read, a form's as JSON's: the first reason is told."""

from collections.abc import Sequence

from starlette.requests import Request

from service.clients import Clients
from service.metrics import Metrics
from service.problems import Kind, Problem
from service.settings import Settings
from service.signup import forms
from service.signup.limits import SignupLimit
from service.signup.requests import FORM, JSON, MAX_BODY, Check, media_type

RETRY_WHEN_RESUMED = {"Retry-After": "60"}  # s; a person has to end the pause


def checks(
    settings: Settings, *, limit: SignupLimit | None, clients: Clients, metrics: Metrics
) -> Sequence[Check]:
    """In their order. What is turned off costs nothing."""
    found = [_check_length, _check_type, forms.check_origin(forms.origins(settings))]
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
