"""From a request to a signup that has been checked, for JSON and forms alike."""

import re
from hashlib import blake2b
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from service.person.reason import Reason
from service.signup.body import FORM, StrictRequest, invalid_field, media_type
from service.signup.schemas import KEY_PATTERN, SignupRequest
from service.web.problems import InvalidField, Problem, ProblemType

KEY_HEADER = "idempotency-key"
KEY_FIELD = "idempotency_key"  # of a form
TRAP = "website"  # a field that people do not see, and bots fill in
VALID_KEY = re.compile(KEY_PATTERN)
REASONS: dict[str, Reason] = {reason.value: reason for reason in Reason}
NOTHING = object()


class ParsedSignup(NamedTuple):
    body: SignupRequest
    idempotency_key: str | None


async def parse(request: StrictRequest) -> ParsedSignup | None:
    """None if a bot filled in the trap. Raises Problem."""
    fields = await _fields(request)
    if isinstance(fields, dict) and fields.pop(TRAP, None) not in (None, ""):
        return None
    key = request.headers.get(KEY_HEADER)
    errors = []
    if key is not None and not VALID_KEY.fullmatch(key):
        errors.append(invalid_field(Reason.IDEMPOTENCY_KEY_INVALID, "header", KEY_HEADER))
    page_key = fields.pop(KEY_FIELD, "") if media_type(request.headers) == FORM else ""
    try:
        body = _validate(fields)
    except Problem as problem:
        raise Problem(ProblemType.INVALID, errors=[*errors, *problem.errors]) from problem
    if errors:
        raise Problem(ProblemType.INVALID, errors=errors)
    return ParsedSignup(body, key or (_derive_key(page_key, body) if page_key else None))


async def _fields(request: StrictRequest) -> Any:
    if media_type(request.headers) == FORM:
        return await request.fields()
    return await request.json() if await request.body() else NOTHING


def _validate(fields: Any) -> SignupRequest:
    if not isinstance(fields, dict):
        reason = Reason.BODY_MISSING if fields is NOTHING else Reason.BODY_NOT_AN_OBJECT
        raise Problem(ProblemType.INVALID, errors=[invalid_field(reason, "body")])
    known = {name: fields[name] for name in SignupRequest.model_fields if name in fields}
    # The name of an unknown field is the client's text, and is not repeated.
    unknown = [invalid_field(Reason.FIELD_UNKNOWN, "body")] if len(known) < len(fields) else []
    try:
        body = SignupRequest.model_validate(known)
    except ValidationError as exc:
        errors = [_field_error(error) for error in exc.errors(include_url=False, include_input=False)]
        raise Problem(ProblemType.INVALID, errors=[*errors, *unknown]) from exc
    if unknown:
        raise Problem(ProblemType.INVALID, errors=unknown)
    return body


def _field_error(error: ErrorDetails) -> InvalidField:
    # The name may be left out.
    reason = Reason.EMAIL_MISSING if error["type"] == "missing" else REASONS[error["type"]]
    return invalid_field(reason, "body", *map(str, error["loc"]))


def _derive_key(page_key: str, body: SignupRequest) -> str:
    """The page sent again is the same signup; the page sent with another address is another one."""
    content = "\0".join([page_key, body.email.typed, body.name or ""])
    return f"page-{blake2b(content.encode(), digest_size=20).hexdigest()}"
