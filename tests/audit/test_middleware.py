"""Every request, whatever becomes of it, is one entry with the status that the client saw."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import BackgroundTasks, FastAPI
from starlette.responses import StreamingResponse
from starlette.types import Message

from service.database.engine import Database
from service.settings import Settings
from tests.support.app import Running, running
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.outbox import make_due
from tests.support.relay import ScriptedRelay

LONG_ROUTE = "/long" * 50
SIGNUP = {"email": "ada@example.com", "name": "Ada"}


@pytest.fixture
def engine_name() -> str:
    """What an entry says is decided before it is in any table; how it gets there is tested on both."""
    return "postgresql"


@pytest.fixture
async def live(settings: Settings) -> AsyncIterator[Running]:
    async with running(settings) as live:
        _add_faulty_routes(live.app)
        yield live


def _add_faulty_routes(app: FastAPI) -> None:
    @app.get("/raises")
    async def raises() -> None:
        raise RuntimeError("a bug")

    @app.get("/raises-in-a-task")
    async def raises_in_a_task(background: BackgroundTasks) -> None:
        async def task() -> None:
            raise RuntimeError("a bug in a task")

        background.add_task(task)

    @app.get(LONG_ROUTE)
    async def long_route() -> None: ...

    @app.get("/breaks-half-way")
    async def breaks_half_way() -> StreamingResponse:
        async def stream() -> AsyncIterator[bytes]:
            yield b"ha"
            yield b"lf"
            raise RuntimeError("a bug in a stream")

        return StreamingResponse(stream())


async def entries(database: Database, request_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    async def there() -> bool:
        found[:] = [
            dict(row)
            for row in await rows(database, f"SELECT * FROM audit_log WHERE request_id = '{request_id}'")
        ]
        return bool(found)

    await eventually(there)
    await asyncio.sleep(0.05)  # a second entry would come now
    await there()
    return found


@pytest.mark.shares_app
@pytest.mark.parametrize(
    ("method", "path", "options", "status", "route"),
    [
        ("POST", "/signup", {"json": SIGNUP}, 201, "/signup"),
        ("POST", "/signup", {"json": {"email": "nobody"}}, 422, "/signup"),
        (
            "POST",
            "/signup",
            {"content": b"{", "headers": {"Content-Type": "application/json"}},
            400,
            "/signup",
        ),
        ("POST", "/signup", {"content": b"x"}, 415, "/signup"),
        (
            "POST",
            "/signup",
            {"content": b"x" * 20_000, "headers": {"Content-Type": "application/json"}},
            413,
            "/signup",
        ),
        ("GET", "/signup/00000000-0000-0000-0000-000000000000", {}, 404, "/signup/{signup_id}"),
        ("GET", "/nowhere", {}, 404, None),
        ("DELETE", "/signup", {}, 405, "/signup"),
        ("GET", "/healthz", {}, 200, "/healthz"),
        ("HEAD", "/healthz", {}, 200, "/healthz"),
        (
            "OPTIONS",
            "/signup",
            {"headers": {"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"}},
            200,
            None,
        ),
        (
            "OPTIONS",
            "/signup",
            {"headers": {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}},
            400,
            None,
        ),
    ],
)
async def test_every_request_is_one_entry(
    client: httpx.AsyncClient,
    database: Database,
    method: str,
    path: str,
    options: dict[str, Any],
    status: int,
    route: str | None,
) -> None:
    await is_recorded(client, database, method, path, options, status, route)


async def test_so_is_one_that_fails(live: Running, database: Database) -> None:
    await is_recorded(live.client, database, "GET", "/raises", {}, 500, "/raises")


async def is_recorded(
    client: httpx.AsyncClient,
    database: Database,
    method: str,
    path: str,
    options: dict[str, Any],
    status: int,
    route: str | None,
) -> None:
    request_id = uuid4().hex
    headers = {**options.get("headers", {}), "X-Request-ID": request_id}

    answer = await client.request(method, path, **{**options, "headers": headers})

    assert answer.status_code == status
    [entry] = await entries(database, request_id)
    assert (entry["method"], entry["route"], entry["status"]) == (method, route, status)
    assert entry["response_bytes"] == (len(answer.content) or entry["response_bytes"])
    assert entry["client_network"] == "127.0.0.0/24"
    assert entry["duration_us"] > 0


async def test_a_signup_is_recorded_with_its_user_and_nothing_personal(
    live: Running, database: Database
) -> None:
    answer = await live.client.post("/signup?utm=ada", json=SIGNUP, headers={"X-Request-ID": "signup"})

    [entry] = await entries(database, "signup")
    assert str(entry["user_id"]).replace("-", "") == answer.json()["id"].replace("-", "")
    random = ("instance", "user_id", "digest")  # hexadecimal digits, which may say anything
    assert "ada" not in str({name: entry[name] for name in entry if name not in random}).lower()


async def test_a_route_too_long_for_the_table_is_cut(live: Running, database: Database) -> None:
    await live.client.get(LONG_ROUTE, headers={"X-Request-ID": "long"})

    [entry] = await entries(database, "long")
    assert entry["route"] == LONG_ROUTE[:200]


async def test_a_task_that_raises_stops_neither_the_answer_nor_the_audit(
    live: Running, database: Database
) -> None:
    answer = await live.client.get("/raises-in-a-task", headers={"X-Request-ID": "task"})

    assert answer.status_code == 200
    [entry] = await entries(database, "task")
    assert entry["status"] == 200


async def test_a_stream_that_breaks_is_recorded_once(live: Running, database: Database) -> None:
    await live.client.get("/breaks-half-way", headers={"X-Request-ID": "half"})

    [entry] = await entries(database, "half")
    assert (entry["status"], entry["response_bytes"]) == (200, 4)


async def test_an_unhandled_error_is_a_problem_with_the_request_id_and_cors(live: Running) -> None:
    answer = await live.client.get(
        "/raises", headers={"X-Request-ID": "bug", "Origin": "https://app.example.com"}
    )

    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"] == "bug"
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert "a bug" not in answer.text


async def test_the_audit_goes_on_while_the_mail_cannot(
    live: Running, database: Database, relay: ScriptedRelay
) -> None:
    await relay.stop()

    await live.client.post("/signup", json=SIGNUP, headers={"X-Request-ID": "no-relay"})

    [entry] = await entries(database, "no-relay")
    assert entry["status"] == 201


async def test_the_mail_goes_while_the_audit_cannot(
    live: Running, database: Database, relay: ScriptedRelay
) -> None:
    async with database.transaction() as connection:
        await connection.exec_driver_sql("ALTER TABLE audit_log RENAME TO elsewhere")

    answer = await live.client.post("/signup", json=SIGNUP, headers={"X-Request-ID": "waits"})

    assert answer.status_code == 201
    await eventually(lambda: relay.recipients["ada@example.com"] == 1)
    await eventually(lambda: _says(live.client, "/readyz", "audit", "does not take"))
    async with database.transaction() as connection:
        await connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO audit_log")
    [entry] = await entries(database, "waits")
    assert entry["status"] == 201


@pytest.mark.shares_app
@pytest.mark.parametrize("sent", ["<script>", "x" * 65, "", "a b", "grün"])
async def test_a_request_id_that_is_none_is_not_adopted(client: httpx.AsyncClient, sent: str) -> None:
    answer = await client.get("/healthz", headers=[(b"X-Request-ID", sent.encode())])

    assert answer.headers.get_list("X-Request-ID") == [answer.headers["X-Request-ID"]]
    assert answer.headers["X-Request-ID"] != sent


async def test_excluded_paths_get_an_id_and_count_but_have_no_entry(
    settings: Settings, database: Database
) -> None:
    async with running(settings.model_copy(update={"audit_exclude": ("/healthz",)})) as live:
        answer = await live.client.get("/healthz", headers={"X-Request-ID": "probe"})
        await live.client.get("/readyz", headers={"X-Request-ID": "other"})
        await entries(database, "other")
        metrics = (await live.client.get("/metrics")).text

    assert answer.headers["X-Request-ID"] == "probe"
    assert 'http_request_duration_seconds_count{method="GET",route="/healthz",status="200"} 1.0' in metrics
    assert await rows(database, "SELECT * FROM audit_log WHERE request_id = 'probe'") == []


async def test_a_client_that_leaves_before_its_body_ends_is_recorded(
    live: Running, database: Database
) -> None:
    begun: Message = {"type": "http.request", "body": b'{"em', "more_body": True}
    messages = iter([begun, {"type": "http.disconnect"}])

    async def receive() -> Message:
        return next(messages)

    async def send(_: Message) -> None:
        pass

    await live.app(_post_scope("left"), receive, send)

    [entry] = await entries(database, "left")
    assert entry["status"] == 499
    assert await rows(database, "SELECT * FROM users") == []


async def test_a_client_that_leaves_before_the_answer_is_recorded_and_its_signup_mailed(
    live: Running, database: Database, relay: ScriptedRelay
) -> None:
    body = httpx.Request("POST", "http://test", json=SIGNUP).content

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(_: Message) -> None:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await live.app(_post_scope("gone"), receive, send)

    [entry] = await entries(database, "gone")
    assert entry["status"] == 201
    await make_due(database)
    await eventually(lambda: relay.recipients["ada@example.com"] > 0)


async def test_a_request_that_is_cut_off_is_recorded_as_one_whose_client_left(
    live: Running, database: Database
) -> None:
    asked = asyncio.Event()

    async def receive() -> Message:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(_: Message) -> None:
        pass

    request = asyncio.create_task(live.app(_post_scope("cut-off"), receive, send))
    await asked.wait()
    request.cancel()

    [entry] = await entries(database, "cut-off")
    assert entry["status"] == 499


async def test_an_entry_is_in_its_file_before_the_last_byte_of_the_answer_leaves(
    live: Running, settings: Settings
) -> None:
    """So that `kill -9` after that takes none along."""
    body = httpx.Request("POST", "http://test", json=SIGNUP).content
    last_bytes: list[bool] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            spools = (settings.data_dir / "audit").glob("*.spool")
            last_bytes.append(any(b"kept-before" in spool.read_bytes() for spool in spools))

    await live.app(_post_scope("kept-before"), receive, send)

    assert last_bytes == [True]


def _post_scope(request_id: str) -> dict[str, Any]:
    headers = [(b"content-type", b"application/json"), (b"x-request-id", request_id.encode())]
    return {
        "type": "http",
        "method": "POST",
        "path": "/signup",
        "raw_path": b"/signup",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
        "scheme": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
    }


async def _says(client: httpx.AsyncClient, path: str, part: str, words: str) -> bool:
    return words in (await client.get(path)).json()[part]
