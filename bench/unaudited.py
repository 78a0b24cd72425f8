"""The service without its audit: what the audit costs is the difference.

python -m bench.unaudited
"""

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from service import app, logs, server, settings
from service.audit.middleware import AuditMiddleware
from service.identifiers import new_hex
from service.memory import settle
from service.settings import Settings


class RequestIds:
    """All that the routes want of the outermost layer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope.setdefault("state", {})["request_id"] = new_hex()
        await self.app(scope, receive, send)


def create_app(configured: Settings) -> FastAPI:
    created = app.create_app(configured)
    audited = created.build_middleware_stack()
    if not isinstance(audited, AuditMiddleware):
        raise TypeError("The audit is no longer the outermost layer.")
    created.middleware_stack = RequestIds(audited.app)
    return created


def main() -> None:
    """As `signup-service serve` does it."""
    configured = settings.load()
    logs.configure(configured)
    listener = server.listen(configured.host, configured.port, setting="PORT")
    app = create_app(configured)
    settle()
    server.Server(server.config(app)).run([listener])


if __name__ == "__main__":
    main()
