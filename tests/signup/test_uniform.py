"""DUPLICATE_POLICY=uniform: nobody can tell who has signed up before."""

import asyncio
import itertools
import random
import re
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import mean
from typing import ClassVar
from uuid import UUID, uuid4

import httpx
import pytest
from pydantic import SecretStr

from service.database.engine import Database
from service.database.group_commit import GroupCommit
from service.delivery import worker
from service.settings import DuplicatePolicy, Settings
from service.signup.handler import STEP
from tests.support.app import running
from tests.support.database import execute, no_more_pages_than, rows
from tests.support.eventually import eventually
from tests.support.postgres import Postgres
from tests.support.processes import Process
from tests.support.relay import ScriptedRelay

ADA = {"email": "ada@example.com", "name": "Ada"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"duplicate_policy": DuplicatePolicy.UNIFORM})


def told(answer: httpx.Response) -> object:
    """All that may not tell."""
    headers = [(name, value) for name, value in answer.headers.raw if name not in (b"x-request-id", b"date")]
    return answer.status_code, headers, answer.content


def without_nonces(page: str) -> str:
    return re.sub(r'nonce="[^"]+"', "", page)


async def test_a_known_address_gets_what_a_new_one_gets(
    client: httpx.AsyncClient, database: Database, relay: ScriptedRelay
) -> None:
    new = await client.post("/signup", json=ADA)
    await eventually(lambda: relay.accepted)
    known = await client.post("/signup", json=ADA)

    assert told(new) == told(known)
    assert new.status_code == 202
    assert set(new.json()) == {"message"}
    assert "Location" not in new.headers
    assert len(await rows(database, "SELECT * FROM users")) == 1
    await asyncio.sleep(3 * worker.LOOK_EVERY)
    assert len(relay.accepted) == 1


@pytest.mark.parametrize("local", ["ada", "ada+news"])
async def test_so_does_the_longest_address(client: httpx.AsyncClient, local: str) -> None:
    domain = ".".join(["a" * 63, "b" * 63, "c" * 63])
    longest = f"{local}@{domain}.{'d' * (254 - len(local) - len(domain) - 6)}.com"
    assert len(longest) == 254

    new, known = [await client.post("/signup", json={"email": longest}) for _ in range(2)]

    assert new.status_code == 202
    assert told(known) == told(new)


@pytest.mark.parametrize("again", ["ADA@example.com", "ada@EXAMPLE.com "])
async def test_so_does_another_spelling(client: httpx.AsyncClient, again: str) -> None:
    new = await client.post("/signup", json=ADA)

    assert told(await client.post("/signup", json={"email": again})) == told(new)


class TestIdempotencyKey:
    KEY: ClassVar = {"Idempotency-Key": "4f1c"}

    async def test_a_key_changes_nothing(self, client: httpx.AsyncClient, database: Database) -> None:
        bodies = [ADA, ADA, {**ADA, "name": "Grace"}, {"email": "grace@example.com"}]
        answers = [await client.post("/signup", json=body, headers=self.KEY) for body in bodies]

        assert [told(answer) for answer in answers] == [told(answers[0])] * 4
        stored = await rows(database, "SELECT email, idempotency_key FROM users ORDER BY email")
        assert [tuple(row.values()) for row in stored] == [
            ("ada@example.com", None),
            ("grace@example.com", None),
        ]

    async def test_what_is_no_key_is_refused(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/signup", json=ADA, headers={"Idempotency-Key": "a b"})

        assert answer.status_code == 422


BROWSER = {"Accept": "text/html"}


class TestForm:
    async def test_a_known_address_gets_what_a_new_one_gets(
        self, client: httpx.AsyncClient, database: Database
    ) -> None:
        begun = time.monotonic()
        new, known = [await client.post("/signup", data=ADA, headers=BROWSER) for _ in range(2)]

        assert told(new) == told(known)
        assert (new.status_code, new.headers["Location"]) == (303, "/welcome")
        assert time.monotonic() - begun > 2 * STEP
        assert len(await rows(database, "SELECT * FROM users")) == 1

    async def test_the_page_of_a_user_is_that_of_anybody(
        self, client: httpx.AsyncClient, database: Database
    ) -> None:
        await client.post("/signup", data=ADA, headers=BROWSER)
        [user] = await rows(database, "SELECT id FROM users")

        known, unknown = [
            await client.get(f"/welcome/{user_id}") for user_id in (UUID(str(user["id"])), UUID(int=1))
        ]

        assert without_nonces(known.text) == without_nonces(unknown.text)

    async def test_the_audit_names_nobody(self, client: httpx.AsyncClient, database: Database) -> None:
        await client.post("/signup", data=ADA, headers=BROWSER)

        entries = "SELECT user_id FROM audit_log WHERE route = '/signup'"
        await eventually(lambda: rows(database, entries))
        assert await rows(database, entries) == [{"user_id": None}]


async def test_nobody_sees_what_became_of_a_signup(client: httpx.AsyncClient, database: Database) -> None:
    await client.post("/signup", json=ADA)
    [user] = await rows(database, "SELECT id FROM users")

    for path in (f"/signup/{UUID(str(user['id']))}", f"/signup/{UUID(int=0)}", "/signup/nobody"):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")


@pytest.mark.parametrize(("token", "status"), [("", 404), ("s3", 401)])
async def test_there_are_no_public_figures(settings: Settings, token: str, status: int) -> None:
    async with running(settings.model_copy(update={"ops_token": SecretStr(token)})) as live:
        assert (await live.client.get("/metrics")).status_code == status
        assert (await live.client.head("/metrics")).status_code == status


async def test_the_audit_names_nobody(client: httpx.AsyncClient, database: Database) -> None:
    for _ in range(2):
        await client.post("/signup", json=ADA)

    async def equal() -> bool:
        entries = await rows(database, "SELECT user_id, response_bytes, route, status FROM audit_log")
        return len(entries) == 2 and entries[0] == entries[1] and entries[0]["user_id"] is None

    await eventually(equal)


async def test_a_full_mailbox_does_not_tell_and_gets_no_mail(
    settings: Settings, database: Database, relay: ScriptedRelay
) -> None:
    few = Settings(mailbox_rate_limit="2/day").mailbox_rate_limit
    async with running(settings.model_copy(update={"mailbox_rate_limit": few})) as live:
        answers = [
            await live.client.post("/signup", json={"email": f"ada+{number}@example.com"})
            for number in (1, 2, 3, 3)
        ]
        await eventually(lambda: len(relay.accepted) == 2)

    assert [told(answer) for answer in answers] == [told(answers[0])] * 4
    stored = await rows(database, "SELECT status, last_reply, finished_at FROM outbox ORDER BY recipient")
    assert [row["status"] for row in stored] == ["sent", "sent", "failed"]
    assert "too many signups for this mailbox" in stored[2]["last_reply"]
    assert stored[2]["finished_at"]


async def test_what_is_invalid_is_said_at_once_known_or_not(client: httpx.AsyncClient) -> None:
    await client.post("/signup", json=ADA)
    seconds: dict[str, list[float]] = {"ada": [], "grace": []}

    for name in [*seconds] * 10:
        begun = time.monotonic()
        answer = await client.post("/signup", json={"email": f"{name}@example.com", "name": 7})
        seconds[name].append(time.monotonic() - begun)
        assert answer.status_code == 422

    assert max(map(min, seconds.values())) < STEP


async def test_the_documentation_does_not_speak_of_conflicts(client: httpx.AsyncClient) -> None:
    documented = (await client.get("/openapi.json")).json()["paths"]["/signup"]["post"]["responses"]

    assert "202" in documented
    assert not {"201", "409"} & set(documented)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.remove()


@pytest.mark.deadlines
class TestDatabaseInTrouble:
    """Whatever state it is in, a known address writes, waits and fails as a new one does."""

    @asynccontextmanager
    async def service(
        self, server: Postgres, relay: ScriptedRelay, tmp_path: Path
    ) -> AsyncIterator[httpx.AsyncClient]:
        url = await server.created(f"test_{uuid4().hex}")
        settings = Settings(
            database_url=url,
            data_dir=tmp_path,
            smtp_port=relay.port,
            duplicate_policy="uniform",
            signup_rate_limit="",
        )
        async with running(settings) as live:
            yield live.client

    @asynccontextmanager
    async def altered(self, server: Postgres, name: str, value: str) -> AsyncIterator[None]:
        for statement in (f"ALTER SYSTEM SET {name} = '{value}'", "SELECT pg_reload_conf()"):
            await execute(server.url("postgres"), statement)
        try:
            yield
        finally:
            for statement in (f"ALTER SYSTEM RESET {name}", "SELECT pg_reload_conf()"):
                await execute(server.url("postgres"), statement)

    async def ask(self, client: httpx.AsyncClient, address: str) -> tuple[object, float]:
        begun = time.monotonic()
        answer = await client.post("/signup", json={"email": address})
        assert "Retry-After" in answer.headers or answer.status_code == 202
        return answer.status_code, time.monotonic() - begun

    async def until(
        self,
        client: httpx.AsyncClient,
        shows: Callable[[object, float], bool],
        addresses: Iterable[str] = itertools.repeat("ada@example.com"),
    ) -> list[tuple[object, float]]:
        """The answers up to the first that shows what was altered. The server's processes read it in their
        own time, and not each commit is delayed: another process may have flushed it already."""
        answers: list[tuple[object, float]] = []
        left = iter(addresses)

        async def is_shown() -> bool:
            answers.append(await self.ask(client, next(left)))
            return shows(*answers[-1])

        await eventually(is_shown)
        return answers

    async def test_the_synchronous_standby_is_away(
        self, server: Postgres, relay: ScriptedRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        patience = 1.0  # s
        async with self.service(server, relay, tmp_path) as client:
            assert (await self.ask(client, "ada@example.com"))[0] == 202
            monkeypatch.setitem(GroupCommit.submit.__kwdefaults__ or {}, "give_up_after", patience)
            async with self.altered(server, "synchronous_standby_names", "nobody"):
                known = (await self.until(client, lambda status, _: status == 503))[-1]
                new = await self.ask(client, "grace@example.com")

        assert known[0] == new[0] == 503
        assert min(known[1], new[1]) > patience

    async def test_a_commit_takes_longer_than_a_step(
        self, server: Postgres, relay: ScriptedRelay, tmp_path: Path
    ) -> None:
        def takes_longer(_: object, seconds: float) -> bool:
            return seconds > 2 * STEP

        strangers = (f"grace{number}@example.com" for number in itertools.count())
        async with self.service(server, relay, tmp_path) as client:
            await self.ask(client, "ada@example.com")
            async with (
                self.altered(server, "commit_siblings", "0"),
                self.altered(server, "commit_delay", "100000"),
                self.altered(server, "wal_writer_delay", "10000"),  # what that has flushed is not delayed
            ):
                known = await self.until(client, takes_longer)
                new = await self.until(client, takes_longer, strangers)

        assert {status for status, _ in known + new} == {202}
        assert min(seconds for _, seconds in known + new) > STEP

    async def test_the_file_is_full(self, relay: ScriptedRelay, migrated_file: Path, tmp_path: Path) -> None:
        shutil.copy(migrated_file, tmp_path / "service.db")
        settings = Settings(
            data_dir=tmp_path,
            smtp_port=relay.port,
            duplicate_policy="uniform",
            signup_rate_limit="",
            mailbox_rate_limit="",
        )
        with self.file(tmp_path) as file:
            file.execute("VACUUM")
            [pages] = file.execute("PRAGMA page_count").fetchone()
        with no_more_pages_than(pages):
            async with running(settings) as live:
                assert (await self.ask(live.client, "ada@example.com"))[0] == 202
                await asyncio.to_thread(self.fill, tmp_path, pages)

                asked = [
                    await self.ask(live.client, f"{name}@example.com")
                    for number in range(3)
                    for name in ("ada", f"new{number}")
                ]

        assert {status for status, _ in asked} == {503}
        assert min(seconds for _, seconds in asked) > STEP

    def fill(self, folder: Path, pages: int) -> None:
        """The page of the newest user, byte by byte: the next one needs another page, and there is none."""
        length = 100
        with self.file(folder) as file:
            file.execute(f"PRAGMA max_page_count = {pages}")
            for step in (256, 16, 1):
                while is_written(file, "UPDATE users SET name = ?", "x" * (length + step)):
                    length += step

    @contextmanager
    def file(self, folder: Path) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(folder / "service.db", timeout=30, isolation_level=None)
        yield connection
        connection.close()


async def test_nothing_is_kept_of_what_a_known_address_wrote(
    client: httpx.AsyncClient, database: Database
) -> None:
    await client.post("/signup", json=ADA)
    before = await rows(database, "SELECT * FROM users"), await rows(database, "SELECT id FROM outbox")

    for spelling in ("ada@example.com", "ADA@example.com"):
        again = await client.post("/signup", json={"email": spelling, "name": "Eve"})
        assert again.status_code == 202

    after = await rows(database, "SELECT * FROM users"), await rows(database, "SELECT id FROM outbox")
    assert after == before


class TestTime:
    """Measured from outside, through HTTP, on connections that ask in turns, so that signups seldom share
    a transaction and each would show its own time."""

    EACH = 400
    CONNECTIONS = 24
    PACE = STEP * 1.2  # s between two requests of a connection

    @pytest.fixture
    async def service(
        self, database_url: str, relay: ScriptedRelay, tmp_path: Path
    ) -> AsyncIterator[Process]:
        environment = {
            "DATABASE_URL": database_url,
            "DATA_DIR": tmp_path,
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": relay.port,
            "DUPLICATE_POLICY": "uniform",
            "SIGNUP_RATE_LIMIT": "",
        }
        process = Process("serve", folder=tmp_path / "process", environment=environment)
        await process.start()
        yield await process.ready()
        await process.stop()

    async def test_time_tells_nothing(self, service: Process, database: Database) -> None:
        known = [f"known{number}@example.com" for number in range(self.EACH)]
        new = [f"new{number}@example.com" for number in range(self.EACH)]
        await self.ask(service, known, connections=200)
        asked = known + new
        random.shuffle(asked)

        seconds = await self.ask(service, asked, connections=self.CONNECTIONS)

        assert len(await rows(database, "SELECT id FROM users")) == 2 * self.EACH
        assert min(seconds.values()) > STEP
        first = [seconds[address] for address in new]
        second = [seconds[address] for address in known]
        assert 0.40 < area_under_the_curve(first, second) < 0.60, (mean(first), mean(second))

    async def ask(self, service: Process, addresses: list[str], *, connections: int) -> dict[str, float]:
        """How long each answer took."""
        waiting, seconds = iter(addresses), {}

        async def client(number: int) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            turn = time.perf_counter() + self.PACE * number / connections
            for address in waiting:
                await asyncio.sleep(turn - time.perf_counter())
                turn += self.PACE
                begun = time.perf_counter()
                writer.write(request(address))
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(length(head))
                seconds[address] = time.perf_counter() - begun
                assert head.startswith(b"HTTP/1.1 202 ")
            writer.close()

        await asyncio.gather(*(client(number) for number in range(connections)))
        return seconds


def is_written(file: sqlite3.Connection, statement: str, value: str) -> bool:
    """Or the file is full."""
    try:
        file.execute(statement, [value])
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise
        return False
    return True


def request(address: str) -> bytes:
    body = f'{{"email": "{address}"}}'
    head = (
        f"POST /signup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    return f"{head}\r\n\r\n{body}".encode()


def length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])


def area_under_the_curve(first: list[float], second: list[float]) -> float:
    """How often one of the first is greater than one of the second: 0.5 is as good as guessing."""
    ranks = sorted([(value, True) for value in first] + [(value, False) for value in second])
    sum_of_ranks = sum(rank for rank, (_, is_first) in enumerate(ranks, 1) if is_first)
    return (sum_of_ranks - len(first) * (len(first) + 1) / 2) / (len(first) * len(second))
