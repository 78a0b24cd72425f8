"""Whatever is asked of a confirmation link, its token is in no log, metric, audit entry, error or trace."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from service.database.engine import Database
from tests.support.collector import Collector
from tests.support.confirmation import new_token, time_passes
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.processes import Process
from tests.support.relay import ScriptedRelay

BROWSER = {"Accept": "text/html"}
APP = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"}
UNKNOWN = "5" * 64
LONG = timedelta(days=8)


@asynccontextmanager
async def collecting() -> AsyncIterator[tuple[Collector, int]]:
    collector, port = Collector(), free_port()
    async with await asyncio.start_server(collector, "127.0.0.1", port):
        yield collector, port


@pytest.mark.parametrize("engine_name", ["sqlite"])
async def test_a_token_is_told_to_nobody(
    database_url: str, database: Database, relay: ScriptedRelay, tmp_path: Path
) -> None:
    async with collecting() as (collector, port):
        environment = {
            "DATABASE_URL": database_url,
            "DATA_DIR": tmp_path,
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": relay.port,
            "CONFIRMATION": "link",
            "CORS_ORIGINS": "https://app.example.com",
            "LOG_LEVEL": "debug",
            "LOG_FORMAT": "json",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
            "OTEL_EXPORTER_OTLP_TIMEOUT": 1,
            "OTEL_BSP_SCHEDULE_DELAY": 50,
            "OTEL_METRIC_EXPORT_INTERVAL": 200,
        }
        process = Process("serve", folder=tmp_path / "process", environment=environment)
        await process.start()
        try:
            async with httpx.AsyncClient(base_url=process.url) as client:
                await process.ready()
                told, token = await ask_everything(client, database, relay)
                await eventually(lambda: collector.has_heard("/v1/traces", b"/confirm/{token}/deny"))
                await eventually(lambda: collector.has_heard("/v1/metrics", b"/confirm/{token}"))
                told["metrics"] = (await client.get("/metrics")).text
                told["readiness"] = (await client.get("/readyz")).text
            process.signal(15)
            await process.ended()
            told["log"] = process.log
        finally:
            await process.stop()
    audited = await rows(database, "SELECT * FROM audit_log")
    told |= {"audit": str(audited), "traces": b"".join(collector.heard.values()).decode("latin-1")}

    assert "request.failed" in told["log"]
    assert {"/confirm/{token}", "/confirm/{token}/deny"} <= {entry["route"] for entry in audited}
    for place, text in told.items():
        for secret in (token, token[32:], UNKNOWN, "half-a-token"):
            assert secret not in text, place


async def ask_everything(
    client: httpx.AsyncClient, database: Database, relay: ScriptedRelay
) -> tuple[dict[str, str], str]:
    """The texts of all problems, and the token that was asked for."""
    problems: list[str] = []

    async def ask(method: str, path: str, status: int, **headers: str) -> None:
        answer = await client.request(method, path, headers=headers)
        assert answer.status_code == status, (method, path, answer.text)
        if answer.headers.get("Content-Type", "").startswith("application/problem"):
            problems.append(f"{answer.headers}{answer.text}")

    relay.answers["dot"] = lambda envelope: f"250 queued {envelope.content.decode()}".replace("\r\n", " ")
    await client.post("/signup", json={"email": "ada@example.com"})
    token = await new_token(relay)
    for other in (UNKNOWN, "half-a-token", f"{token}0", f"{token}/", f"{token}/more"):
        await ask("GET", f"/confirm/{other}", 404)
        await ask("POST", f"/confirm/{other}", 404)
    await ask("DELETE", f"/confirm/{token}", 405)
    await ask("OPTIONS", f"/confirm/{token}", 200, **APP)
    await ask("OPTIONS", f"/confirm/{token}", 400, **{**APP, "Origin": "https://evil.example.com"})
    await time_passes(database, LONG)
    await ask("POST", f"/confirm/{token}", 410)
    await time_passes(database, -LONG)
    for statement in (
        "CREATE TRIGGER refusing BEFORE UPDATE ON users BEGIN SELECT RAISE(ABORT, 'not this one'); END",
        "DROP TRIGGER refusing",
    ):
        async with database.transaction() as connection:
            await connection.exec_driver_sql(statement)
        if statement.startswith("CREATE"):
            await ask("POST", f"/confirm/{token}", 500)
    await ask("GET", f"/confirm/{token}", 200, **BROWSER)
    await ask("POST", f"/confirm/{token}", 200)
    await ask("POST", f"/confirm/{token}/deny", 409)
    return {"problems": "\n".join(problems)}, token
