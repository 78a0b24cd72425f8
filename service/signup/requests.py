"""Strict JSON: what a body may be before its fields are looked at."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service.problems import CLIENT_LEFT, InvalidField, Kind, Problem

MAX_BODY = 16 * 1024
BODY_TIMEOUT = 8.0  # s


class StrictRequest(Request):
    """A bounded body in bounded time, and JSON without the looseness of Python's parser."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            try:
                async with asyncio.timeout(BODY_TIMEOUT):
                    self._body = await self._read()
            except ClientDisconnect as exc:
                raise HTTPException(CLIENT_LEFT) from exc
            except TimeoutError as exc:
                raise Problem(Kind.TIMEOUT, headers={"Connection": "close"}) from exc
        return self._body

    async def json(self) -> Any:
        try:
            text = (await self.body()).decode("utf-8-sig")
            return json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_not_a_number)
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as exc:
            raise Problem(Kind.UNPARSABLE) from exc

    async def _read(self) -> bytes:
        chunks, size = [], 0
        async for chunk in self.stream():
            size += len(chunk)
            if size > MAX_BODY:
                raise Problem(Kind.TOO_LARGE, headers={"Connection": "close"})
            chunks.append(chunk)
        return b"".join(chunks)


class StrictRoute(APIRoute):
    """Refuses what can be refused before the body is read: too large by its own word, or not JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            _check_length(request)
            _check_type(request)
            return await handle(StrictRequest(request.scope, request.receive))

        return strict


def _check_length(request: Request) -> None:
    length = request.headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or int(length[:20]) > MAX_BODY:
        raise Problem(Kind.TOO_LARGE, headers={"Connection": "close"})


def _check_type(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" or "content-encoding" in request.headers:
        raise Problem(Kind.UNSUPPORTED_MEDIA_TYPE)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _invalid("A field stands there twice.", "repeated")
    return fields


def _not_a_number(_: str) -> Any:
    raise _invalid("NaN and Infinity are not JSON.", "finite_number")


def _invalid(message: str, kind: str) -> Problem:
    return Problem(Kind.INVALID, errors=[InvalidField(loc=["body"], msg=message, type=kind)])
