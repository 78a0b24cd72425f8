"""The HTML form: where it may be sent from, and what it may hold."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import ValidationError
from starlette.requests import Request

from service.problems import InvalidField, Kind, Problem
from service.settings import Settings
from service.signup.requests import FORM, Check, media_type
from service.signup.schemas import SignupRequest

DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def origins(settings: Settings) -> frozenset[str]:
    """Those that may send the form, besides the host that it is sent to."""
    url = urlsplit(settings.public_url.lower())
    host = url.netloc.removesuffix(DEFAULT_PORTS[url.scheme])  # as browsers write theirs
    return frozenset({f"{url.scheme}://{host}", *settings.cors_origins})


def check_origin(allowed: frozenset[str]) -> Check:
    """Refuses what a foreign page made somebody's browser send. JSON it cannot send: that is CORS's."""

    def check(request: Request) -> None:
        if media_type(request.headers) == FORM and not _is_from_here(request, allowed):
            raise Problem(Kind.FOREIGN_FORM)

    return check


def validated(fields: Mapping[str, str]) -> SignupRequest:
    """An empty name is none. Raises Problem."""
    given = {field: value for field, value in fields.items() if value or field != "name"}
    try:
        return SignupRequest.model_validate({"email": "", **given})
    except ValidationError as exc:
        errors = [
            InvalidField(loc=["body", *error["loc"]], msg=error["msg"], type=error["type"])
            for error in exc.errors()
        ]
        raise Problem(Kind.INVALID, errors=errors) from exc


def _is_from_here(request: Request, allowed: frozenset[str]) -> bool:
    origin, host = request.headers.get("origin"), request.headers.get("host", "")
    if origin is None or request.headers.get("sec-fetch-site") == "same-origin":
        return True
    origin = origin.lower()
    return origin in allowed or "*" in allowed or origin.partition("://")[2] == (host.lower() or None)
