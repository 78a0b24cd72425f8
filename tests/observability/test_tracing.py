"""What the service sends to a collector, and what it does not."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.support.collector import Collector
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.processes import Process

PARENT = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
async def collector() -> AsyncIterator[tuple[Collector, int]]:
    collector, port = Collector(), free_port()
    async with await asyncio.start_server(collector, "127.0.0.1", port):
        yield collector, port


async def served(folder: Path, port: int) -> Process:
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        "OTEL_EXPORTER_OTLP_TIMEOUT": 1,  # s; at its end a process tries this long to send the rest
        "OTEL_SERVICE_NAME": "engines",
        "OTEL_BSP_SCHEDULE_DELAY": 50,
        "OTEL_METRIC_EXPORT_INTERVAL": 200,
    }
    process = Process("serve", folder=folder, environment=variables)
    return await (await process.start()).ready()


async def test_a_collector_hears_of_requests_and_nothing_of_people(
    collector: tuple[Collector, int], tmp_path: Path
) -> None:
    heard, port = collector
    process = await served(tmp_path, port)
    try:
        async with httpx.AsyncClient(base_url=process.url) as client:
            traced = {"traceparent": f"00-{PARENT}-00f067aa0ba902b7-01"}
            await client.post("/signup?of=grace", json={"email": "ada@example.com"}, headers=traced)
            await client.get("/ada@example.com")
            await client.get("/healthz")

        await eventually(lambda: heard.has_heard("/v1/traces", b"POST /signup"))
        await eventually(lambda: heard.has_heard("/v1/metrics", b"http.server.request.duration"))
        process.signal(15)
        assert await process.ended(within=10) == 0
    finally:
        await process.stop()

    assert heard.heard.keys() == {"/v1/traces", "/v1/metrics"}  # and no logs
    everything = b"".join(heard.heard.values())
    for expected in (b"engines", b"http.route", bytes.fromhex(PARENT)):
        assert expected in everything
    for personal in (b"ada@", b"grace", b"/healthz"):
        assert personal not in everything


async def test_a_collector_that_is_away_delays_neither_answer_nor_end(tmp_path: Path) -> None:
    process = await served(tmp_path, free_port())
    try:
        async with httpx.AsyncClient(base_url=process.url) as client:
            assert (await client.get("/")).elapsed.total_seconds() < 1
        process.signal(15)

        assert await process.ended(within=10) == 0
    finally:
        await process.stop()
