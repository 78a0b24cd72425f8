"""Health, readiness and metrics."""

import signal
from pathlib import Path

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from service.database.engine import Database
from service.settings import Settings
from tests.support.app import running
from tests.support.eventually import eventually
from tests.support.processes import Process
from tests.support.relay import ScriptedRelay


async def test_a_healthy_service_is_ready(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/readyz")).json() == {
        "status": "ready",
        "database": "ok",
        "relay": "ok",
        "webhook": "off",
        "audit": "ok",
    }


async def test_relay_trouble_shows_and_keeps_it_ready(
    client: httpx.AsyncClient, relay: ScriptedRelay
) -> None:
    await relay.stop()
    await client.post("/signup", json={"email": "ada@example.com"})

    async def named() -> bool:
        answer = await client.get("/readyz")
        return answer.status_code == 200 and answer.json()["relay"].startswith("paused: ")

    await eventually(named)


async def test_without_the_schema_it_is_alive_and_not_ready(settings: Settings, database: Database) -> None:
    async with database.transaction() as connection:
        await connection.exec_driver_sql("DROP TABLE alembic_version")

    async with running(settings) as live:
        health = await live.client.get("/healthz")
        readiness = await live.client.get("/readyz")

    assert health.status_code == 200
    assert readiness.status_code == 503
    assert "migrate" in readiness.json()["database"]


async def test_without_a_database_it_is_alive_answers_503_and_does_not_hang(
    settings: Settings, tmp_path: Path
) -> None:
    nowhere = settings.model_copy(
        update={"database_url": type(settings.database_url)("postgresql://ada@127.0.0.1:9/engines")}
    )
    async with running(nowhere) as live:
        assert (await live.client.get("/healthz")).status_code == 200
        assert (await live.client.get("/readyz")).status_code == 503
        signup = await live.client.post("/signup", json={"email": "ada@example.com"})
        state = await live.client.get("/signup/00000000-0000-0000-0000-000000000000")

    for answer in (signup, state):
        assert answer.status_code == 503
        assert answer.json()["type"] == "/problems/unavailable"
        assert answer.headers["Retry-After"]


async def test_a_database_that_would_forget_is_refused_with_the_mend(
    settings: Settings, postgres_url: str
) -> None:
    admin = await asyncpg.connect(postgres_url)
    await admin.execute("CREATE DATABASE careless")
    await admin.execute("ALTER DATABASE careless SET synchronous_commit = off")
    url = postgres_url.rpartition("/")[0] + "/careless"

    async with running(settings.model_copy(update={"database_url": SecretStr(url)})) as live:
        readiness = await live.client.get("/readyz")
        signup = await live.client.post("/signup", json={"email": "ada@example.com"})

    assert (readiness.status_code, signup.status_code) == (503, 503)
    assert "set it to on" in readiness.json()["database"]
    await admin.execute("DROP DATABASE careless WITH (FORCE)")
    await admin.close()


async def test_without_a_database_metrics_tell_that_and_no_sums(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"database_url": SecretStr("postgresql://ada@127.0.0.1:9/engines")})
    async with running(nowhere) as live:
        await live.client.post("/signup", json={"email": "ada@example.com"})

        text = (await live.client.get("/metrics")).text

    assert "database_up 0.0" in text
    assert 'route="/signup",status="503"} 1.0' in text
    assert "signups_total" not in text


async def test_a_workers_mails_are_told_by_an_api(
    settings: Settings, tmp_path: Path, relay: ScriptedRelay
) -> None:
    variables = {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": relay.port,
    }
    worker = Process("worker", folder=tmp_path / "worker", environment=variables)
    await worker.start()
    try:
        async with running(settings.model_copy(update={"worker": False})) as live:
            await live.client.post("/signup", json={"email": "ada@example.com"})
            await eventually(lambda: relay.accepted)
            worker.signal(signal.SIGTERM)  # with its last words, sooner than ten seconds later
            assert await worker.ended() == 0

            text = (await live.client.get("/metrics")).text
    finally:
        await worker.stop()
    assert 'welcome_emails_total{outcome="sent"} 1.0' in text
    assert "welcome_email_delivery_duration_seconds_count 1.0" in text


async def test_metrics_count_what_happened(client: httpx.AsyncClient, relay: ScriptedRelay) -> None:
    await client.post("/signup", json={"email": "ada@example.com"})
    await client.post("/signup", json={"email": "ada@example.com"})
    await eventually(lambda: relay.accepted)

    async def counted() -> bool:
        text = (await client.get("/metrics")).text
        return all(
            line in text
            for line in (
                'signups_total{result="registered"} 1.0',
                'signups_total{result="address-taken"} 1.0',
                'welcome_emails_total{outcome="sent"} 1.0',
                "welcome_emails_pending 0.0",
                "welcome_emails_failed 0.0",
                "database_up 1.0",
                "relay_paused 0.0",
            )
        )

    await eventually(counted)


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "s3"}, 401),
        ({"Authorization": "Bearer s3"}, 200),
        ({"Authorization": "bearer s3"}, 200),
    ],
)
async def test_metrics_want_the_token_where_there_is_one(
    settings: Settings, given: dict[str, str], status: int
) -> None:
    guarded = settings.model_copy(update={"ops_token": type(settings.ops_token)("s3")})

    async with running(guarded) as live:
        answer = await live.client.get("/metrics", headers=given)

    assert answer.status_code == status


async def test_the_documentation_can_be_turned_off(settings: Settings) -> None:
    async with running(settings) as open_, running(settings.model_copy(update={"docs": False})) as closed:
        for path in ("/docs", "/openapi.json"):
            assert (await open_.client.get(path)).status_code == 200
            assert (await closed.client.get(path)).status_code == 404
