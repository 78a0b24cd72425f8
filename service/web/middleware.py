"""The layers between the audit and the app."""

import re
from collections.abc import Collection
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.runtime.once_per_minute import OncePerMinute
from service.settings.urls import is_loopback
from service.web.problems import STATE_KEY, OnProblem, ProblemType, problem_app

OTHER_NAME = "This service does not answer under that name: open it under localhost, or set PUBLIC_URL."
QUOTABLE = re.compile(r"[A-Za-z0-9.:/\[\]_-]{1,100}")

log = structlog.get_logger()


class MalformedRequestMiddleware:
    """Refuses a request that the protocol found to be malformed."""

    def __init__(self, app: ASGIApp, *, on_problem: OnProblem) -> None:
        self._app = app
        self._on_problem = on_problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and (found := scope["state"].get(STATE_KEY)):
            self._on_problem(scope, found)
            app = problem_app(found, headers={"Connection": "close"})
        await app(scope, receive, send)


class NoStoreMiddleware:
    """Keeps answers out of caches unless they have a `Cache-Control` of their own: "pending" must not be
    seen after "sent"."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_no_store(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                if not any(name.lower() == b"cache-control" for name, _ in headers):
                    message["headers"] = [*headers, (b"cache-control", b"no-store")]
            await send(message)

        await self._app(scope, receive, send_with_no_store if scope["type"] == "http" else send)


class PublicPathMiddleware:
    """Puts the path of `PUBLIC_URL`, which a proxy takes off requests, in front of each `Location`."""

    def __init__(self, app: ASGIApp, *, path: str) -> None:
        self._app = app
        self._path = path.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_path(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [self._prepend_path(*header) for header in message.get("headers", ())]
            await send(message)

        await self._app(scope, receive, send_with_path)

    def _prepend_path(self, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        is_ours = name.lower() == b"location" and value.startswith(b"/")
        return name, self._path + value if is_ours else value


class AllowedHostsMiddleware:
    """Answers only requests to these hosts and to loopback. A website can point its own name at this
    machine (DNS rebinding); without this its scripts could read everything."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = {"localhost", *(host.lower() for host in hosts)}
        self._should_log = OncePerMinute()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and not self._is_allowed(
            Headers(scope=scope).get("host", ""), scope["server"]
        ):
            if self._should_log():
                log.warning("host.refused", fix="Open the page under localhost, or set HOST or PUBLIC_URL.")
            app = problem_app(ProblemType.NOT_FOUND, detail=OTHER_NAME)
        await app(scope, receive, send)

    def _is_allowed(self, host: str, server: tuple[str, int]) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if name is None or name in self._hosts or is_loopback(name):
            return True
        return name == server[0].removeprefix("::ffff:")  # the address that the client connected to


class CorsMiddleware(CORSMiddleware):
    """Starlette's, but a refused preflight gets a problem document that names the reason, and without
    `CORS_ORIGINS` no answer gets `Vary: Origin`."""

    def __init__(self, app: ASGIApp, **options: Any) -> None:
        super().__init__(app, **options)
        self._should_log = OncePerMinute()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.allow_origins or scope.get("method") == "OPTIONS":
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code == HTTPStatus.OK:
            return answer
        reason, fix = self._explain(request_headers)
        if self._should_log():
            log.warning("cors.preflight_refused", reason=reason, fix=fix)
        return _RefusedPreflight(answer, detail=f"{reason} {fix}")

    def _explain(self, asked: Headers) -> tuple[str, str]:
        origin, method = _quote(asked["origin"]), _quote(asked["access-control-request-method"])
        if not self.is_allowed_origin(asked["origin"]):
            return f"The origin {origin} is not allowed.", "Add it to CORS_ORIGINS."
        if asked["access-control-request-method"] not in self.allow_methods:
            return f"The method {method} is not allowed.", f"Use {' or '.join(self.allow_methods)}."
        headers = asked.get("access-control-request-headers")
        for name in headers.split(",") if headers is not None else ():
            if name.strip().lower() not in self.allow_headers:
                return f"The header {_quote(name.strip())} is not allowed.", "Do not send it."
        return "Access from a public site to a private network is not allowed.", "Use the public address."


class _RefusedPreflight(Response):
    """Waits for the scope, which has the request's id."""

    def __init__(self, plain: Response, *, detail: str) -> None:
        headers = {name: value for name, value in plain.headers.items() if not name.startswith("content-")}
        self._refuse = problem_app(ProblemType.PREFLIGHT_REFUSED, detail=detail, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._refuse(scope, receive, send)


def _quote(text: str) -> str:
    """Repeats an origin, a method or a header's name, and nothing that does not look like one."""
    return text if QUOTABLE.fullmatch(text) else "that was sent"
