"""The body of a signup, JSON or a form, up to its fields: bounded, and strict where parsers are loose."""

import json
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request

from service.person.reason import Reason
from service.web.problems import CLIENT_LEFT, STATE_KEY, InvalidField, Problem, ProblemType, accepts_html

MAX_BODY = 16 * 1024
MAX_DEPTH = 100  # of lists and objects in each other; how many the parser takes depends on Python's version
STRING = re.compile(r'"(?:[^"\\]|\\.?)*+"?', re.DOTALL)  # an open one too, or it would be looked for again
BRACKET = re.compile(r"[][{}]")

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"


class BodyFault(StrEnum):
    """What is wrong with a body as a whole."""

    NOT_UTF_8 = "This was not sent in UTF-8. Please send it again in UTF-8."
    NESTED_TOO_DEEPLY = "The JSON is nested too deeply for a signup."
    JSON_AS_FORM = "The body looks like JSON. Please send it with the header Content-Type: application/json."


class StrictRequest(Request):
    """Bounds the size of its body. The server bounds the time."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            self._body = await self._read()
        return self._body

    async def json(self) -> Any:
        try:
            text = (await self.body()).decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            raise Problem(ProblemType.UNPARSABLE, detail=BodyFault.NOT_UTF_8) from exc
        _check_depth(text)
        try:
            return _STRICT.decode(text)
        except json.JSONDecodeError as exc:
            raise Problem(ProblemType.UNPARSABLE) from exc

    async def fields(self) -> dict[str, str]:
        """Of a urlencoded form. The state's `typed` has them too, for a page to show again."""
        body = await self.body()
        pairs = _split_form(body)
        self.state.typed = {_decode_leniently(name): _decode_leniently(value) for name, value in pairs}
        if body.lstrip().startswith(b"{"):
            raise Problem(ProblemType.UNSUPPORTED_MEDIA_TYPE, detail=BodyFault.JSON_AS_FORM)
        try:
            return _to_unique_dict([(name.decode(), value.decode()) for name, value in pairs])
        except UnicodeDecodeError as exc:
            raise Problem(ProblemType.UNPARSABLE, detail=BodyFault.NOT_UTF_8) from exc

    async def _read(self) -> bytes:
        read, more = bytearray(), True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise HTTPException(CLIENT_LEFT)
            read += message.get("body", b"")
            if len(read) > MAX_BODY:
                raise Problem(ProblemType.TOO_LARGE, headers={"Connection": "close"})
            more = message.get("more_body", False)
        if found := self.scope["state"].get(STATE_KEY):  # the server ended the body, not the client
            raise Problem(found)
        return bytes(read)


def media_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def wants_page(request: Request) -> bool:
    """Whether this is a person's form, sent by a browser and not by a program in it."""
    return media_type(request.headers) in (FORM, MULTIPART) and accepts_html(request.headers)


def invalid_field(reason: Reason, *loc: str) -> InvalidField:
    return InvalidField(loc=list(loc), msg=reason.sentence, type=reason)


def _split_form(body: bytes) -> list[tuple[bytes, bytes]]:
    """As the URL standard's parser of application/x-www-form-urlencoded, section 5.1."""
    pieces = [piece.replace(b"+", b" ").partition(b"=") for piece in body.split(b"&") if piece]
    return [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in pieces]


def _decode_leniently(text: bytes) -> str:
    """For showing it again: what is not UTF-8 is most likely Windows' Western encoding."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("cp1252", "replace")


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in BRACKET.findall(STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise Problem(ProblemType.UNPARSABLE, detail=BodyFault.NESTED_TOO_DEEPLY)


def _to_unique_dict(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Problem(ProblemType.INVALID, errors=[invalid_field(Reason.FIELD_REPEATED, "body")])
    return fields


def _refuse_constant(_: str) -> Any:
    """NaN and Infinity, which are no JSON."""
    raise Problem(ProblemType.INVALID, errors=[invalid_field(Reason.NUMBER_NOT_FINITE, "body")])


_STRICT = json.JSONDecoder(
    object_pairs_hook=_to_unique_dict,
    parse_constant=_refuse_constant,
    parse_int=float,  # int refuses thousands of digits with an error of its own
)
