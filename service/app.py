"""Builds every part once and hands it down."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from service import __doc__ as about
from service import operations, problems
from service.audit.log import AuditLog
from service.audit.middleware import AuditMiddleware
from service.audit.spool import Spool
from service.clients import Clients
from service.database import Database
from service.mailing import Mailing
from service.metrics import Metrics
from service.settings import Settings, writable
from service.signup import forms
from service.signup import routes as signup
from service.signup.pages import Pages
from service.signup.register import Signups

EXPOSED_HEADERS = ("Location", "Retry-After", "X-Request-ID")
ACCEPTED_HEADERS = ("Content-Type", "Idempotency-Key", "X-Request-ID")


class Application(FastAPI):
    """FastAPI with one more layer around all of it.

    `add_middleware` would put that layer inside the error handling, where it sees no status for
    an unhandled exception; around the finished stack it sees everything once.
    """

    def __init__(self, *, outermost: Callable[[ASGIApp], ASGIApp], **options: Any) -> None:
        super().__init__(**options)
        self._outermost = outermost

    def build_middleware_stack(self) -> ASGIApp:
        return self._outermost(super().build_middleware_stack())


def create_app(settings: Settings) -> FastAPI:
    """Raises InvalidSettings."""
    metrics = Metrics()
    database = Database(settings)
    with writable(settings.data_dir):
        spool = Spool(settings.data_dir / "audit", key=settings.audit_key.get_secret_value().encode())
    audit = AuditLog(
        database=database,
        spool=spool,
        keep=timedelta(days=settings.audit_retention_days),
        metrics=metrics,
    )
    mailing = Mailing.build(settings, database=database, metrics=metrics)
    signups = Signups(
        database=database,
        outbox=mailing.outbox,
        claims=lambda: settings.worker and mailing.delivery.room > 0,
        metrics=metrics,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(database.close)
            audit.start()
            stack.push_async_callback(audit.stop)
            if settings.worker:
                await stack.enter_async_context(mailing.running())
            yield

    def outermost(app: ASGIApp) -> ASGIApp:
        return AuditMiddleware(
            CORSMiddleware(
                app,
                allow_origins=settings.cors_origins,
                allow_methods=("GET", "POST"),
                allow_headers=ACCEPTED_HEADERS,
                expose_headers=EXPOSED_HEADERS,
            ),
            log=audit,
            clients=Clients(settings.trusted_proxies),
            exclude=frozenset(settings.audit_exclude),
            metrics=metrics,
        )

    app = Application(
        outermost=outermost,
        lifespan=lifespan,
        title=f"{settings.product_name}: signup",
        description=about,
        redirect_slashes=False,
        docs_url="/docs" if settings.docs else None,
        redoc_url=None,
        openapi_url="/openapi.json" if settings.docs else None,
    )
    problems.install(app)
    for router in (
        signup.routes(
            signups=signups,
            outbox=mailing.outbox,
            delivery=mailing.delivery,
            metrics=metrics,
            pages=Pages(settings),
            origins=forms.origins(settings),
            languages=mailing.messages.languages,
        ),
        operations.routes(
            settings=settings,
            database=database,
            outbox=mailing.outbox,
            window=mailing.window,
            audit=audit,
            metrics=metrics,
        ),
    ):
        _answer_head_like_get(router)
        app.include_router(router)
    return app


def _answer_head_like_get(router: APIRouter) -> None:
    for route in list(router.routes):
        if isinstance(route, APIRoute) and "GET" in (route.methods or ()):
            router.add_api_route(route.path, route.endpoint, methods=["HEAD"], include_in_schema=False)
