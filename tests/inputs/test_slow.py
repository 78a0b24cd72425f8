"""Clients that take their time, or do not come to an end."""

import asyncio
import shutil
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.web import protocol, transport
from tests.inputs.live import Live, eventually
from tests.inputs.requests import CHUNKED, FORM, JSON, chunked, fresh, head, post
from tests.support.processes import Process

MB = 1_000_000
SLOW = {
    "says nothing": (b"", b"", None),
    "empty lines": (b"\r\n", b"\r\n", 408),
    "headers": (b"POST /signup HTTP/1.1\r\nHost: localhost\r\nX: ", b"x", 408),
    "headers that stop": (b"POST /signup HTTP/1.1\r\nHost: ", b"", 408),
    "body": (JSON + b"Content-Length: 1000\r\n\r\n", b" ", 408),
    "body that stops": (JSON + b"Content-Length: 100\r\n\r\n{ ", b"", 408),
    "form that stops": (FORM + b"Content-Length: 100\r\n\r\nemail=", b"", 408),
    "chunks": (CHUNKED, b"1\r\n \r\n", 408),
    "trailers": (CHUNKED + b"2\r\n{}\r\n0\r\nX: ", b"x", 408),
    "body after the answer": (head("POST /signup", "Content-Length: 1000"), b"x", 415),
    "second request": (head("GET /healthz") + b"GET / HTTP/1.1\r\n", b"X: x\r\n", 200),
}
HUGE_HEADERS = {
    "one header": [head("GET /healthz", "X: " + "x" * 100_000)],
    "many headers": [head("GET /healthz", *["X: 0123456789"] * 6_000)],
    "path": [head("GET /" + "x" * 100_000)],
    "never an end": [b"GET /healthz HTTP/1.1\r\nX: ", *[b"x" * MB] * 20],
}
HUGE_BODIES = {
    "with its length": [JSON + b"Content-Length: %d\r\n\r\n" % (100 * MB), *[b" " * MB] * 100],
    "in chunks": [CHUNKED, *[b"%x\r\n%b\r\n" % (MB, b" " * MB)] * 100, b"0\r\n\r\n"],
    "in one chunk": [CHUNKED, b"%x\r\n" % (100 * MB), *[b" " * MB] * 100],
    "trailers": [CHUNKED, b"2\r\n{}\r\n0\r\n", *[b"X: x\r\n" * 10_000] * 100],
    "chunk extensions": [CHUNKED, b"2;", *[b"x" * MB] * 20],
}


@pytest.mark.parametrize("live", ["sqlite"], indirect=True)  # no database is asked
async def test_two_hundred_slow_clients_are_cut_and_disturb_nobody(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert protocol.REQUEST_SECONDS == 8
    monkeypatch.setattr(protocol, "REQUEST_SECONDS", 1.5)
    slow = [
        asyncio.create_task(slowly(live, first, more, status))
        for first, more, status in SLOW.values()
        for _ in range(20)
    ]

    took = []
    while not all(client.done() for client in slow):
        begun = time.monotonic()
        answer = await asyncio.to_thread(live.ask, post({"email": fresh()}))
        took.append(time.monotonic() - begun)
        assert answer.status == 201
        await asyncio.sleep(0.1)

    assert statistics.median(took) < 1  # s; behind slow clients it would be their patience
    for client in slow:
        assert await client <= 6


async def slowly(live: Live, first: bytes, more: bytes, status: int | None) -> float:
    """How many seconds the server had patience."""
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    begun = time.monotonic()
    writer.write(first)
    dripping = asyncio.create_task(drip(writer, more))
    answer = await reader.read()
    took = time.monotonic() - begun
    dripping.cancel()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 %d" % status if status else b""), answer
    assert (answer == b"") == (status is None)
    return took


async def drip(writer: asyncio.StreamWriter, more: bytes) -> None:
    while more:
        await asyncio.sleep(0.1)
        writer.write(more)


@pytest.mark.parametrize("pieces", HUGE_HEADERS.values(), ids=HUGE_HEADERS)
def test_huge_headers_are_refused(live: Live, pieces: list[bytes]) -> None:
    live.is_refused(*pieces, status=431, kind="/problems/headers-too-large", audited=False)


def test_large_headers_are_taken(live: Live) -> None:
    live.is_accepted(post({"email": fresh()}, "Cookie: " + "x" * 60_000))


@pytest.mark.parametrize("pieces", HUGE_BODIES.values(), ids=HUGE_BODIES)
def test_a_huge_body_is_refused_before_its_end_and_its_client_learns_why(
    live: Live, pieces: list[bytes]
) -> None:
    live.is_refused(*pieces, status=413, kind="/problems/too-large")


def test_a_body_of_16_kib_may_come_in_the_smallest_chunks(live: Live) -> None:
    body = b'{"email": "%b"}' % fresh().encode()

    live.is_accepted(chunked(*(body[at : at + 1] for at in range(len(body)))))


@pytest.fixture
async def service(migrated_file: Path, tmp_path: Path) -> AsyncIterator[Process]:
    shutil.copy(migrated_file, tmp_path / "service.db")
    process = Process("serve", folder=tmp_path / "process", environment={"DATA_DIR": tmp_path})
    yield await (await process.start()).ready()
    await process.stop()


async def test_ten_bodies_of_100_mb_at_once_cost_no_memory(service: Process) -> None:
    before = memory(service)

    answers = await asyncio.gather(*(upload(service.port) for _ in range(10)))

    assert {answer.split()[1] for answer in answers} == {b"413"}
    assert peak(service) - before < 10 * MB


async def test_ten_pipelines_whose_clients_read_nothing_cost_little_and_disturb_nobody(
    service: Process,
) -> None:
    await ask(service)
    before = memory(service)
    requests = head("GET /")
    pipeline = requests * (250_000 // len(requests))

    clients = [await asyncio.open_connection("127.0.0.1", service.port, limit=1) for _ in range(10)]
    for _, writer in clients:
        writer.write(pipeline)
    took = [await ask(service) for _ in range(20)]

    assert statistics.median(took) < 1
    assert peak(service) - before < 60 * MB
    for _, writer in clients:
        writer.transport.abort()


@pytest.mark.parametrize("live", ["sqlite"], indirect=True)
def test_an_idle_connection_is_kept_as_long_as_it_was_set(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live._server.config, "timeout_keep_alive", 1)
    with live.connection() as connection:
        connection.send(head("GET /healthz"))
        assert connection.read().status == 200
        begun = time.monotonic()

        assert connection.is_closed()
        assert time.monotonic() - begun > 0.5


async def ask(service: Process) -> float:
    """How many seconds an answer took."""
    begun = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(head("GET /healthz", "Connection: close"))
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()
    return time.monotonic() - begun


@pytest.mark.parametrize("live", ["sqlite"], indirect=True)  # no database is asked
@pytest.mark.parametrize("asked", [head("GET /openapi.json"), head("GET /openapi.json", "Connection: close")])
def test_a_client_that_reads_nothing_is_cut(
    live: Live, monkeypatch: pytest.MonkeyPatch, asked: bytes
) -> None:
    monkeypatch.setattr(transport, "STALLED_SECONDS", 1.0)
    with live.connection(receive_buffer=4096) as connection:
        connection.send(asked * 2_000)

        assert eventually(lambda: connection.is_cut(), until=bool, within=30)


@pytest.mark.parametrize("live", ["sqlite"], indirect=True)
def test_a_client_that_reads_slowly_is_not(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "STALLED_SECONDS", 1.5)
    with live.connection(receive_buffer=4096) as connection:
        connection.send(head("GET /openapi.json") * 200)

        for _ in range(200):
            time.sleep(0.015)
            assert connection.read().status == 200


async def upload(port: int) -> bytes:
    """The first line of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = asyncio.create_task(reader.readline())  # from now on: a reader whose writer failed reads no more
    for piece in HUGE_BODIES["with its length"]:
        writer.write(piece)
        try:
            await asyncio.wait_for(writer.drain(), 30)
        except ConnectionError:
            break
    line = await answer
    writer.close()
    return line


def memory(process: Process, *, field: str = "VmRSS") -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def peak(process: Process) -> int:
    return memory(process, field="VmHWM")
