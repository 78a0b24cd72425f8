"""What is refused before the app is asked, as problem details like all else."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.problems import STATE_KEY, ProblemType, problem_app


class MalformedRequestMiddleware:
    """Answers a request that the server found to be malformed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and (found := scope["state"].get(STATE_KEY)):
            app = problem_app(found, headers={"Connection": "close"})
        await app(scope, receive, send)


class NoStoreMiddleware:
    """Nothing is kept by a cache unless it says so: not "pending" after "sent", and nobody's page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_unstored(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                if not any(name.lower() == b"cache-control" for name, _ in headers):
                    message["headers"] = [*headers, (b"cache-control", b"no-store")]
            await send(message)

        await self._app(scope, receive, send_unstored if scope["type"] == "http" else send)


class CorsMiddleware(CORSMiddleware):
    """Starlette's, which refuses a preflight in plain text, and tells each answer that the origin
    matters, even where none is allowed."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.allow_origins or scope.get("method") == "OPTIONS":
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        return (
            _RefusedPreflight(answer)
            if answer.status_code == ProblemType.PREFLIGHT_REFUSED.status
            else answer
        )


class _RefusedPreflight(Response):
    """Made without the scope, where the request's id is."""

    def __init__(self, plain: Response) -> None:
        headers = {name: value for name, value in plain.headers.items() if not name.startswith("content-")}
        self._refuse = problem_app(ProblemType.PREFLIGHT_REFUSED, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._refuse(scope, receive, send)
