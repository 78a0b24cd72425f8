"""What an operator asks: does it live, is it ready, what does it count."""

import hmac
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field
from starlette.responses import PlainTextResponse

from service import schema
from service.audit.log import AuditLog
from service.database import Database, DatabaseAway
from service.figures import Figures
from service.problems import Kind, Problem, responses
from service.settings import DuplicatePolicy, Settings
from service.welcome.window import Window


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    status: Literal["ready", "not ready"]
    database: Annotated[str, Field(examples=["ok"])]
    relay: Annotated[str, Field(examples=["ok"], description="Trouble here keeps signups going: mails wait.")]
    audit: Annotated[
        str, Field(examples=["ok"], description="Trouble here keeps signups going: entries wait.")
    ]


def routes(
    *,
    settings: Settings,
    database: Database,
    window: Window,
    audit: AuditLog,
    figures: Figures,
) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/healthz")
    async def health() -> Health:
        """The process lives."""
        return Health()

    @router.get("/readyz", responses={503: {"model": Readiness}})
    async def readiness(response: Response) -> Readiness:
        """Signups can be stored. Names the part that is not well."""
        trouble = await _database_trouble(database)
        if trouble:
            response.status_code = 503
        return Readiness(
            status="not ready" if trouble else "ready",
            database=trouble or "ok",
            relay=f"paused: {window.trouble}" if window.trouble else "ok",
            audit=audit.trouble or "ok",
        )

    async def metrics(authorization: Annotated[str, Header()] = "") -> Response:
        """Prometheus text. With `OPS_TOKEN` set it wants it as a bearer token."""
        _check_token(authorization, settings.ops_token.get_secret_value())
        return Response(await figures.text(), media_type=CONTENT_TYPE_LATEST)

    # Its figures tell new addresses from known ones.
    if settings.duplicate_policy is DuplicatePolicy.CONFLICT or settings.ops_token.get_secret_value():
        router.add_api_route(
            "/metrics", metrics, response_class=PlainTextResponse, responses=responses(Kind.UNAUTHORIZED)
        )

    return router


async def _database_trouble(database: Database) -> str | None:
    try:
        return await schema.trouble(database)
    except DatabaseAway as exc:
        return f"The database cannot be used: {exc}"


def _check_token(authorization: str, token: str) -> None:
    scheme, _, given = authorization.partition(" ")
    is_known = hmac.compare_digest(given.strip().encode(), token.encode())
    if token and not (scheme.lower() == "bearer" and is_known):
        raise Problem(Kind.UNAUTHORIZED, headers={"WWW-Authenticate": "Bearer"})
