"""The routes for operators: health, readiness and metrics."""

import asyncio
import hmac
from collections.abc import Iterable
from enum import Enum
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Response
from prometheus_client import CONTENT_TYPE_LATEST, Metric, generate_latest
from prometheus_client.registry import Collector
from pydantic import BaseModel, Field
from starlette.responses import PlainTextResponse

from service.audit.log import AuditLog
from service.database import readiness
from service.database.engine import READ_TIMEOUT, Database, DatabaseUnavailable
from service.database.outbox_kinds import ChannelName
from service.delivery.circuit_breaker import CircuitBreaker
from service.observability.metrics import Metrics
from service.observability.shared_counters import SharedCounters
from service.outbox.admin import OutboxAdmin
from service.settings import DuplicatePolicy, Settings
from service.web.openapi import problem_responses
from service.web.problems import Problem, ProblemType

TAGS: list[str | Enum] = ["operations"]


class MetricsExposition:
    def __init__(self, *, metrics: Metrics, shared: SharedCounters, admin: OutboxAdmin) -> None:
        self._metrics = metrics
        self._shared = shared
        self._admin = admin

    async def text(self) -> bytes:
        """The metrics in Prometheus's format. Without the database the sums are left out: smaller sums would
        look like restarted counters."""
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                sums = await self._ask_database()
        except (DatabaseUnavailable, TimeoutError):
            sums = []
        self._metrics.database_up.set(bool(sums))
        return generate_latest(_Families(sums)) + generate_latest(self._metrics.registry)

    async def _ask_database(self) -> list[Metric]:
        depths = await self._admin.queue_depths()
        for metrics, channel in (
            (self._metrics.mail, ChannelName.MAIL),
            (self._metrics.events, ChannelName.WEBHOOK),
        ):
            waiting = depths[channel]
            metrics.pending.set(waiting.pending)
            metrics.failed.set(waiting.failed)
            metrics.oldest_seconds.set(waiting.oldest.total_seconds())
            metrics.overdue_seconds.set(waiting.overdue.total_seconds())
        return await self._shared.sums()


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    status: Literal["ready", "not ready"]
    database: Annotated[str, Field(examples=["ok"])]
    relay: Annotated[
        str, Field(examples=["ok"], description="While it is in trouble, signups go on and mails wait.")
    ]
    webhook: Annotated[
        str,
        Field(
            examples=["ok"],
            description="`off` without `WEBHOOK_URL`. While it is in trouble, signups go on and events wait.",
        ),
    ]
    audit: Annotated[
        str, Field(examples=["ok"], description="While it is in trouble, signups go on and entries wait.")
    ]


def add_routes(
    router: APIRouter,
    *,
    settings: Settings,
    database: Database,
    relay: CircuitBreaker,
    endpoint: CircuitBreaker | None,
    audit: AuditLog,
    exposition: MetricsExposition,
) -> None:
    @router.get("/healthz", operation_id="getHealth", tags=TAGS)
    async def health() -> Health:
        """The process lives."""
        return Health()

    @router.get("/readyz", operation_id="getReadiness", tags=TAGS, responses={503: {"model": Readiness}})
    async def readiness(response: Response) -> Readiness:
        """Signups can be stored. Names the part that is not well."""
        trouble = await _find_database_problem(database)
        if trouble:
            response.status_code = 503
        return Readiness(
            status="not ready" if trouble else "ready",
            database=trouble or "ok",
            relay=_describe(relay),
            webhook=_describe(endpoint) if endpoint else "off",
            audit=audit.trouble or "ok",
        )

    async def metrics(authorization: Annotated[str, Header()] = "") -> Response:
        """Prometheus text. With `OPS_TOKEN` set it wants it as a bearer token."""
        _check_token(authorization, settings.ops_token.get_secret_value())
        return Response(await exposition.text(), media_type=CONTENT_TYPE_LATEST)

    # Its numbers would reveal which addresses are new.
    if settings.duplicate_policy is DuplicatePolicy.CONFLICT or settings.ops_token.get_secret_value():
        router.add_api_route(
            "/metrics",
            metrics,
            operation_id="getMetrics",
            tags=TAGS,
            response_class=PlainTextResponse,
            responses=problem_responses(ProblemType.UNAUTHORIZED),
        )


def _describe(breaker: CircuitBreaker) -> str:
    return f"paused: {breaker.trouble}" if breaker.trouble else "ok"


async def _find_database_problem(database: Database) -> str | None:
    try:
        return await readiness.find_problem(database)
    except DatabaseUnavailable as exc:
        return f"The database cannot be used: {exc}"


def _check_token(authorization: str, token: str) -> None:
    scheme, _, given = authorization.partition(" ")
    is_known = hmac.compare_digest(given.strip().encode(), token.encode())
    if token and not (scheme.lower() == "bearer" and is_known):
        raise Problem(ProblemType.UNAUTHORIZED, headers={"WWW-Authenticate": "Bearer"})
