"""What only real processes show: answers before mails, signals, kills."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from service.database.engine import Database
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.outbox import make_due
from tests.support.page import Page
from tests.support.processes import Process
from tests.support.relay import HANG, ScriptedRelay

Start = Callable[..., Awaitable[Process]]
LOOK_EVERY = 0.1  # s
SAME_SIGNAL_WITHIN = 0.3  # s


@pytest.fixture
async def start(database_url: str, relay: ScriptedRelay, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts `service COMMAND` on the test's database and relay."""
    async with AsyncExitStack() as stack:

        async def start(*command: str, **environment: object) -> Process:
            defaults: dict[str, object] = {
                "DATABASE_URL": database_url,
                "DATA_DIR": tmp_path,
                "SMTP_HOST": "127.0.0.1",
                "SMTP_PORT": relay.port,
            }
            process = Process(
                *command,
                folder=tmp_path / f"process-{time.monotonic_ns()}",
                environment=defaults | environment,
                constants={
                    "service.delivery.worker.LOOK_EVERY": LOOK_EVERY,
                    "service.delivery.circuit_breaker.FIRST_PAUSE": 0.1,
                    "service.runtime.signals.SAME_SIGNAL_WITHIN": SAME_SIGNAL_WITHIN,
                },
            )
            await process.start()
            stack.push_async_callback(process.stop)
            return await process.ready() if command[0] == "serve" else process

        yield start


async def signup(client: httpx.AsyncClient, name: str = "ada") -> httpx.Response:
    return await client.post("/signup", json={"email": f"{name}@example.com"})


async def test_a_form_leads_from_page_to_page_until_the_mail_has_left(
    start: Start, relay: ScriptedRelay
) -> None:
    service = await start("serve")
    async with httpx.AsyncClient(
        base_url=service.url, follow_redirects=True, headers={"Accept": "text/html"}
    ) as browser:
        form = Page((await browser.get("/")).text).one("form")
        ada = {"email": "ada@example.com", "name": "", "website": ""}

        welcome = await browser.request(
            form["method"] or "", form["action"] or "", data=ada, headers={"Origin": service.url}
        )

        assert welcome.url.path.startswith("/welcome/")
        assert (await browser.head(welcome.url)).content == b""

        async def told() -> bool:
            return Page((await browser.get(welcome.url)).text).says("Your welcome email has been sent.")

        await eventually(told)
    assert relay.recipients["ada@example.com"] == 1


async def test_the_answer_comes_while_the_relay_hangs(start: Start, relay: ScriptedRelay) -> None:
    relay.answers["greeting"] = HANG
    service = await start("serve")
    async with httpx.AsyncClient(base_url=service.url) as client:
        begun = time.monotonic()

        answers = await asyncio.gather(*(signup(client, f"user{number}") for number in range(30)))

        assert {answer.status_code for answer in answers} == {201}
        assert time.monotonic() - begun < 8
        state = await client.get(answers[0].headers["Location"])
        assert state.json()["welcome_email"] == "pending"


async def test_without_any_relay_a_signup_is_answered_and_mailed_when_one_appears(
    start: Start, relay: ScriptedRelay
) -> None:
    await relay.stop()
    service = await start("serve")
    async with httpx.AsyncClient(base_url=service.url) as client:
        assert (await signup(client)).status_code == 201

    await relay.start()

    await eventually(lambda: relay.recipients["ada@example.com"] == 1, within=20)


async def test_killed_between_answer_and_mail_nothing_is_lost(
    start: Start, relay: ScriptedRelay, database: Database
) -> None:
    relay.answers["rcpt"] = HANG
    service = await start("serve")
    async with httpx.AsyncClient(base_url=service.url) as client:
        answers = [await signup(client, f"user{number}") for number in range(5)]
    request_ids = {answer.headers["X-Request-ID"] for answer in answers}
    await service.kill()
    del relay.answers["rcpt"]
    await make_due(database)  # the leases of the dead process, a minute later

    await start("serve")

    await eventually(lambda: len(relay.accepted) == 5, within=15)
    assert set(relay.recipients.values()) == {1}
    await eventually(lambda: _audited(database, request_ids))


async def test_a_worker_of_its_own_sends_what_an_api_without_one_stored(
    start: Start, relay: ScriptedRelay
) -> None:
    api = await start("serve", WORKER="false")
    async with httpx.AsyncClient(base_url=api.url) as client:
        assert (await signup(client)).status_code == 201
        await asyncio.sleep(0.3)
        assert relay.stages["greeting"] == 0

    await start("worker")

    await eventually(lambda: relay.recipients["ada@example.com"] == 1, within=15)


async def test_two_of_everything_send_each_mail_once(start: Start, relay: ScriptedRelay) -> None:
    first, second, *_ = [await start(command) for command in ("serve", "serve", "worker", "worker")]
    async with httpx.AsyncClient(base_url=first.url) as one, httpx.AsyncClient(base_url=second.url) as two:
        answers = await asyncio.gather(
            *(signup(client, f"user{number}") for number in range(100) for client in (one, two))
        )

    statuses = [answer.status_code for answer in answers]
    assert sorted(set(statuses)) == [201, 409]
    assert statuses.count(201) == 100
    await eventually(lambda: len(relay.accepted) == 100, within=20)
    await asyncio.sleep(3 * LOOK_EVERY)  # another look of every worker
    assert set(relay.recipients.values()) == {1}


async def test_sigterm_finishes_what_is_in_flight_and_ends_with_success(
    start: Start, relay: ScriptedRelay, database: Database
) -> None:
    relay.delays["dot"] = 0.5
    service = await start("serve")
    async with httpx.AsyncClient(base_url=service.url) as client:
        for number in range(3):
            await signup(client, f"user{number}")
    await eventually(lambda: relay.stages["dot"] == 3)

    service.signal(signal.SIGTERM)

    assert await service.ended() == 0
    assert set(relay.recipients.values()) == {1}
    assert {row["status"] for row in await rows(database, "SELECT status FROM outbox")} == {"sent"}


@pytest.mark.parametrize("command", ["serve", "worker"])
async def test_a_second_signal_ends_at_once_and_loses_nothing(
    start: Start, relay: ScriptedRelay, database: Database, command: str
) -> None:
    relay.answers["dot"] = HANG
    api = await start("serve", WORKER="true" if command == "serve" else "false")
    async with httpx.AsyncClient(base_url=api.url) as client:
        await signup(client)
    holder = api if command == "serve" else await start("worker")
    await eventually(lambda: relay.stages["dot"])
    holder.signal(signal.SIGTERM)
    await asyncio.sleep(SAME_SIGNAL_WITHIN + 0.2)
    assert holder.alive

    await holder.ended_by_sigterm()  # draining would take longer

    assert [row["status"] for row in await rows(database, "SELECT status FROM outbox")] == ["pending"]


async def test_several_processes_share_a_port(start: Start, relay: ScriptedRelay, database: Database) -> None:
    service = await start("serve", "--workers", "2")
    async with httpx.AsyncClient(base_url=service.url) as client:
        answers = await asyncio.gather(*(signup(client, f"user{number}") for number in range(20)))

    assert {answer.status_code for answer in answers} == {201}
    await eventually(lambda: len(relay.accepted) == 20, within=15)

    async def both_have_answered() -> bool:
        async with httpx.AsyncClient(base_url=service.url) as client:
            await asyncio.gather(*(client.get("/") for _ in range(20)))
        return len(await rows(database, "SELECT instance FROM audit_instances")) == 2

    await eventually(both_have_answered)
    service.signal(signal.SIGTERM)
    assert await service.ended() in (0, -signal.SIGTERM)


async def _audited(database: Database, request_ids: set[str]) -> bool:
    found = {row["request_id"] for row in await rows(database, "SELECT request_id FROM audit_log")}
    return request_ids <= found
