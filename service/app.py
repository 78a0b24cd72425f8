"""Builds every part once and hands it down."""

import sys
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from copy import copy
from datetime import timedelta
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import __doc__ as about
from service import monitoring
from service.audit.heads import Heads
from service.audit.log import AuditLog
from service.audit.middleware import AuditMiddleware
from service.audit.spool import Spool
from service.database.engine import Database
from service.delivery.assembly import MailDelivery, build_event_delivery, deliver_in_background
from service.limits.per_client import SignupLimit
from service.limits.per_mailbox import MailboxLimit
from service.monitoring import MetricsExposition
from service.observability import tracing
from service.observability.metrics import Metrics
from service.observability.shared_counters import SharedCounters
from service.outbox.admin import OutboxAdmin
from service.outbox.events import Events
from service.settings import DuplicatePolicy, InvalidSettings, Settings
from service.signup import confirm_routes, progress
from service.signup import routes as signup
from service.signup.confirm_pages import ConfirmPages
from service.signup.confirmation import Confirmation
from service.signup.handler import SignupHandler
from service.signup.pages import Pages
from service.signup.preconditions import build_preconditions
from service.signup.registration import Registration
from service.signup.renewals import Renewals
from service.signup.retention import Retention
from service.signup.signup_route import refusal_counter
from service.web import docs, error_handlers
from service.web.client_address import ClientAddresses
from service.web.middleware import (
    CorsMiddleware,
    MalformedRequestMiddleware,
    NoStoreMiddleware,
    PublicPathMiddleware,
)
from service.web.openapi import complete
from service.web.problems import Problem, ProblemType

EXPOSED_HEADERS = ("Location", "Retry-After", "X-Request-ID")
ACCEPTED_HEADERS = (
    *("Content-Type", "Idempotency-Key", "X-Request-ID"),
    # Headers that tracing and XMLHttpRequest libraries add to every request.
    *("traceparent", "tracestate", "baggage", "sentry-trace", "X-Requested-With"),
)
ABOUT_CONFIRMATION = (
    ProblemType.LINK_UNKNOWN,
    ProblemType.LINK_EXPIRED,
    ProblemType.UNCONFIRMED,
    ProblemType.ALREADY_CONFIRMED,
)


class Application(FastAPI):
    """FastAPI with an outermost layer, and with an OpenAPI document that describes all errors.

    `add_middleware` would put the layer inside the error handling, where it sees no status for an unhandled
    exception. Around the finished stack it sees every response once.
    """

    def __init__(
        self,
        *,
        outermost: Callable[[ASGIApp], ASGIApp],
        without: Collection[ProblemType] = (),
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._outermost = outermost
        self._without = without

    def build_middleware_stack(self) -> ASGIApp:
        return self._outermost(super().build_middleware_stack())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(
            scope, receive, _explain_failure(send) if scope["type"] == "lifespan" else send
        )

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            self.openapi_schema = complete(super().openapi(), without=self._without)
        return self.openapi_schema


def create_app(settings: Settings) -> Application:
    """Opens no file and no connection: the lifespan does that. Raises InvalidSettings."""
    metrics = Metrics(confirms=settings.asks_to_confirm)
    count_refusal = refusal_counter(metrics)
    database = Database(settings)
    clients = ClientAddresses(settings.trusted_proxies)
    audit = _build_audit_log(settings, database=database, metrics=metrics)
    mailing = MailDelivery.build(settings, database=database, metrics=metrics)
    events = build_event_delivery(settings, database=database, metrics=metrics)
    shared = SharedCounters(metrics, database=database)
    limit = SignupLimit(rate, database=database) if (rate := settings.signup_rate_limit) else None
    retention = _build_retention(settings, database=database, metrics=metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tracing.redact_spans()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(database.close)
            await stack.enter_async_context(shared.running())
            await stack.enter_async_context(audit.running())
            if limit:
                await stack.enter_async_context(limit.running())
            if retention:
                await stack.enter_async_context(retention.running())
            if settings.worker:
                await stack.enter_async_context(deliver_in_background(mailing, events))
            yield

    def outermost(app: ASGIApp) -> ASGIApp:
        if settings.public_path:
            app = PublicPathMiddleware(app, path=settings.public_path)
        return AuditMiddleware(
            NoStoreMiddleware(
                CorsMiddleware(
                    MalformedRequestMiddleware(app, on_problem=count_refusal),
                    allow_origins=settings.cors_origins,
                    allow_methods=("GET", "POST"),
                    allow_headers=ACCEPTED_HEADERS,
                    expose_headers=EXPOSED_HEADERS,
                )
            ),
            log=audit,
            clients=clients,
            exclude=frozenset(settings.audit_exclude),
            metrics=metrics,
        )

    app = Application(
        outermost=outermost,
        without=() if settings.asks_to_confirm else ABOUT_CONFIRMATION,
        lifespan=lifespan,
        title=f"{settings.product_name}: signup",
        description=about,
        redirect_slashes=False,
        telemetry=tracing.config(),
        docs_url=None,  # FastAPI's page loads Swagger UI from the internet
        redoc_url=None,
        openapi_url="/openapi.json" if settings.docs else None,
        servers=[{"url": settings.public_path}] if settings.public_path else None,
    )
    pages = Pages(settings)
    confirm_pages = ConfirmPages(settings, pages) if settings.asks_to_confirm else None

    def problem_page(request: Request, problem: Problem) -> Response | None:
        about_confirmation = confirm_pages.problem(request, problem) if confirm_pages else None
        return about_confirmation or pages.problem(request, problem)

    error_handlers.install(app, translator=pages.translator, page=problem_page, on_problem=count_refusal)
    # On the app itself: matching an included router takes an eighth of a signup's time.
    signup.add_routes(
        app.router,
        policy=settings.duplicate_policy,
        asks_to_confirm=settings.asks_to_confirm,
        preconditions=build_preconditions(settings, limit=limit, clients=clients),
        handler=_build_signup_handler(settings, database=database, mailing=mailing, metrics=metrics),
        pages=pages,
        metrics=metrics,
    )
    if confirm_pages:
        confirm_routes.add_routes(
            app.router,
            confirmation=Confirmation(
                database,
                links=mailing.links,
                events=Events.from_settings(settings, database=database),
                within=settings.confirm_within,
                metrics=metrics,
            ),
            pages=confirm_pages,
            confirmed_url=settings.confirmed_url,
        )
    monitoring.add_routes(
        app.router,
        settings=settings,
        database=database,
        relay=mailing.breaker,
        endpoint=events.breaker if events else None,
        audit=audit,
        exposition=MetricsExposition(metrics=metrics, shared=shared, admin=OutboxAdmin(database)),
    )
    if settings.docs:
        docs.add_routes(app.router, title=app.title)
    _answer_head(app.router)
    return app


def _explain_failure(send: Send) -> Send:
    """If a setting prevents the start, shows a sentence instead of a traceback."""

    async def send_explanation(message: Message) -> None:
        exc = sys.exception()
        if message["type"] == "lifespan.startup.failed" and isinstance(exc, InvalidSettings):
            message["message"] = str(exc)
        await send(message)

    return send_explanation


def _build_audit_log(settings: Settings, *, database: Database, metrics: Metrics) -> AuditLog:
    secret = settings.audit_key.get_secret_value().encode()
    return AuditLog(
        heads=Heads(database, secret=secret),
        spool=Spool(settings.data_dir / "audit", secret=secret),
        keep=timedelta(days=settings.audit_retention_days),
        metrics=metrics,
    )


def _build_retention(settings: Settings, *, database: Database, metrics: Metrics) -> Retention | None:
    if not settings.asks_to_confirm:
        return None
    return Retention(
        database,
        events=Events.from_settings(settings, database=database),
        keep=timedelta(days=settings.unconfirmed_days),
        metrics=metrics,
    )


def _build_signup_handler(
    settings: Settings, *, database: Database, mailing: MailDelivery, metrics: Metrics
) -> SignupHandler:
    # Otherwise the loop sends: its timing does not reveal new addresses, and it respects the quota.
    sends_at_once = (
        settings.worker
        and settings.duplicate_policy is DuplicatePolicy.CONFLICT
        and not settings.has_send_quota
    )
    confirms = settings.asks_to_confirm
    rate = settings.mailbox_rate_limit
    mailboxes = MailboxLimit(rate, database=database, renews=confirms) if rate else None
    signups = Registration(
        database=database,
        outbox=mailing.outbox,
        mailboxes=mailboxes,
        policy=settings.duplicate_policy,
        claims_at_once=lambda: sends_at_once and mailing.delivery.capacity > 0,
        adds_event=bool(settings.webhook_url),
        renewals=Renewals(database, mailboxes=mailboxes, metrics=metrics) if confirms else None,
        metrics=metrics,
    )
    return SignupHandler(
        policy=settings.duplicate_policy,
        signups=signups,
        find_progress=partial(progress.find, database)
        if confirms
        else partial(progress.find_welcome, mailing.outbox),
        delivery=mailing.delivery,
        languages=mailing.messages.languages,
        metrics=metrics,
    )


def _answer_head(router: APIRouter) -> None:
    """HEAD works where GET does, as with Starlette's own routes."""
    for route in list(router.routes):
        if isinstance(route, APIRoute) and "GET" in (route.methods or ()):
            head = copy(route)  # building it anew would take a third of the time for the whole app
            head.methods, head.include_in_schema = {"HEAD"}, False
            router.routes.append(head)
