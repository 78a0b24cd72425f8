"""How often one client may sign up, in one process and in all together."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import NoReturn

import httpx
import pytest
from pydantic import SecretStr

from service.database.engine import Database, DatabaseUnavailable
from service.limits import per_client as module
from service.limits.per_client import SignupLimit
from service.limits.rate_counts import COUNTS
from service.settings import Settings
from service.settings.rate import Rate
from tests.support.app import running
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.processes import Process
from tests.support.relay import ScriptedRelay

TEN = Rate.parse("10/day")  # whose windows end in the middle of the night alone


@pytest.fixture
def limit(database: Database) -> SignupLimit:
    return SignupLimit(TEN, database=database)


@pytest.fixture
def replica(database: Database) -> Callable[[], SignupLimit]:
    return lambda: SignupLimit(TEN, database=database)


def spend(limit: SignupLimit, times: int, client: str = "192.0.2.1/32") -> int:
    """How many of them were let in."""
    return [limit.hit(client) for _ in range(times)].count(0)


def unavailable(_: Database) -> NoReturn:
    raise DatabaseUnavailable("gone")


class TestOneProcess:
    def test_the_eleventh_waits_for_the_next_window(self, limit: SignupLimit) -> None:
        assert spend(limit, 10) == 10

        assert 0 < limit.hit("192.0.2.1/32") <= 86_400
        assert limit.hit("192.0.2.2/32") == 0

    async def test_the_next_window_begins_anew(self, database: Database) -> None:
        limit = SignupLimit(Rate.parse("5/second"), database=database)
        while spend(limit, 6) == 6:  # the second ended meanwhile
            pass
        assert limit.hit("192.0.2.1/32") == 1

        await eventually(lambda: limit.hit("192.0.2.1/32") == 0)

    def test_it_forgets_those_who_came_longest_ago(
        self, limit: SignupLimit, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MAX_CLIENTS", 100)
        spend(limit, 10, "busy")

        for number in range(10_000):
            limit.hit(f"2001:db8:0:{number:x}::/64")
            assert limit.hit("busy") > 0

        assert len(limit._window.counts) == 100
        assert sum(map(len, limit._window.unshared)) <= 100

    @pytest.mark.parametrize("ahead", [-3.0, 3.0])
    async def test_a_clock_that_seems_wrong_for_a_moment_changes_no_count(
        self, limit: SignupLimit, ahead: float
    ) -> None:
        spend(limit, 10)

        limit._set_clock(limit._clock_offset + ahead)  # as after a query that took long
        limit._set_clock(limit._clock_offset - ahead)

        assert spend(limit, 1) == 0


class TestReplicas:
    async def test_they_share_what_they_counted(self, replica: Callable[[], SignupLimit]) -> None:
        one, two, idle = replica(), replica(), replica()
        assert (spend(one, 5), spend(two, 5)) == (5, 5)

        for limit in (one, two, one, idle):
            await limit.share()

        assert (spend(one, 1), spend(two, 1), spend(idle, 1)) == (0, 0, 0)

    async def test_what_is_shared_is_shared_once(
        self, replica: Callable[[], SignupLimit], database: Database
    ) -> None:
        one, two = replica(), replica()
        for _ in range(3):
            spend(one, 1)
            spend(two, 1)
            await one.share()
            await two.share()

        [row] = await rows(database, "SELECT scope, count FROM rate_counts")
        assert tuple(row.values()) == ("signup:192.0.2.1/32", 6)
        assert spend(one, 10) == 10 - 6 + 1  # the one that the other shared last is news

    async def test_what_could_not_be_shared_is_shared_later(
        self, replica: Callable[[], SignupLimit], database: Database
    ) -> None:
        one, two = replica(), replica()
        spend(one, 5)
        async with database.transaction() as connection:
            await connection.exec_driver_sql("ALTER TABLE rate_counts RENAME TO elsewhere")
        with pytest.raises(DatabaseUnavailable):
            await one.share()
        async with database.transaction() as connection:
            await connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO rate_counts")

        await one.share()
        spend(two, 1)
        await two.share()

        assert spend(two, 10) == 10 - 5 - 1

    async def test_they_share_at_the_same_time(
        self, replica: Callable[[], SignupLimit], database: Database
    ) -> None:
        replicas = [replica() for _ in range(4)]
        for limit, order in zip(replicas, (1, -1, 1, -1), strict=True):  # in which a deadlock could be
            for number in range(50)[::order]:
                limit.hit(f"192.0.2.{number}/32")

        await asyncio.gather(*(limit.share() for limit in replicas))

        counts = await rows(database, "SELECT count FROM rate_counts")
        assert [row["count"] for row in counts] == [4] * 50
        replicas[0].hit("192.0.2.7/32")
        await replicas[0].share()
        assert spend(replicas[0], 10, "192.0.2.7/32") == 10 - 5

    async def test_those_who_pass_by_are_not_shared(self, database: Database) -> None:
        limit = SignupLimit(Rate.parse("600/day"), database=database)
        spend(limit, 29, "passes by")
        spend(limit, 30, "stays")

        await limit.share()

        [row] = await rows(database, "SELECT scope, count FROM rate_counts")
        assert tuple(row.values()) == ("signup:stays", 30)

    async def test_a_flood_of_clients_does_not_fill_the_table(
        self, limit: SignupLimit, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MAX_SHARED", 20)
        monkeypatch.setattr(module, "SHARED_AT_ONCE", 8)
        for number in range(100):
            limit.hit(f"2001:db8:0:{number:x}::/64")
        spend(limit, 2, "busiest")

        await limit.share()

        scopes = {row["scope"] for row in await rows(database, "SELECT scope FROM rate_counts")}
        assert "signup:busiest" in scopes
        assert len(scopes) == 8
        for _ in range(5):
            await limit.share()
        assert len(await rows(database, "SELECT scope FROM rate_counts")) == 20

    async def test_who_is_forgotten_while_the_counts_are_shared_is_not_counted_down(
        self, replica: Callable[[], SignupLimit], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MAX_CLIENTS", 1)
        limit, other = replica(), replica()
        spend(limit, 5, "forgotten")
        sharing = asyncio.create_task(limit.share())
        await asyncio.sleep(0)  # what is shared has been taken
        spend(limit, 1, "another")
        await sharing

        spend(limit, 2, "forgotten")
        await limit.share()
        await other.share()
        spend(other, 1, "forgotten")
        await other.share()

        assert spend(other, 10, "forgotten") == 10 - 5 - 2 - 1

    async def test_what_could_not_be_shared_is_shared_the_next_time(
        self, limit: SignupLimit, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spend(limit, 5)
        with monkeypatch.context() as broken:
            broken.setattr(Database, "transaction", unavailable)
            for _ in range(3):
                with pytest.raises(DatabaseUnavailable):
                    await limit.share()
        spend(limit, 1)

        await limit.share()

        [row] = await rows(database, "SELECT scope, count FROM rate_counts")
        assert row["count"] == 6
        assert limit._window.in_table == 1

    async def test_counts_of_windows_that_ended_are_deleted(
        self, limit: SignupLimit, database: Database
    ) -> None:
        async with database.transaction() as connection:
            old = {"ends_at": datetime(2020, 1, 1, tzinfo=UTC), "scope": "signup:old", "count": 1}
            await connection.execute(COUNTS.insert(), old)

        await limit.share()

        assert await rows(database, "SELECT * FROM rate_counts") == []

    async def test_the_databases_clock_decides_which_window_it_is(
        self, replica: Callable[[], SignupLimit], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        right = replica()
        monkeypatch.setattr("service.limits.per_client.time.time", lambda: 1e9)
        wrong = replica()
        await wrong.share()
        spend(wrong, 10)

        await wrong.share()
        await right.share()

        assert spend(right, 1) == 0


async def test_without_the_database_each_process_counts_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "SHARE_EVERY", 0.01)
    nowhere = Settings(data_dir=tmp_path, database_url=SecretStr("postgresql://ada@127.0.0.1:9/engines"))
    limit = SignupLimit(TEN, database=Database(nowhere))
    async with limit.running():
        await eventually(lambda: limit._database._outages._affected)

        assert spend(limit, 15) == 10

        await asyncio.sleep(0.1)
    assert capsys.readouterr().out.count("database.unavailable") == 1


class TestHttp:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(
            update={"signup_rate_limit": TEN, "trusted_proxies": (ip_network("10.0.0.0/8"),)}
        )

    @pytest.fixture
    async def post(self, settings: Settings) -> AsyncIterator[Callable[..., Awaitable[httpx.Response]]]:
        """Posts as a client from an address."""
        async with running(settings) as live, AsyncExitStack() as stack:
            clients: dict[str, httpx.AsyncClient] = {}

            async def post(peer: str, **request: object) -> httpx.Response:
                if peer not in clients:
                    transport = httpx.ASGITransport(live.app, client=(peer, 4711))
                    client = httpx.AsyncClient(transport=transport, base_url="http://test")
                    clients[peer] = await stack.enter_async_context(client)
                return await clients[peer].post("/signup", **({"json": {"email": "nobody"}} | request))  # type: ignore[arg-type]  # whatever httpx takes

            yield post

    @pytest.mark.parametrize(
        ("counted", "eleventh", "headers"),
        [
            ("192.0.2.1", "192.0.2.1", {}),
            ("192.0.2.1", "::ffff:192.0.2.1", {}),
            ("2001:db8::1", "2001:db8::ffff:2", {}),
            ("192.0.2.1", "192.0.2.1", {"X-Forwarded-For": "6.6.6.6"}),
            ("10.0.0.1", "10.0.0.1", {"X-Forwarded-For": "a" * 3000}),
            ("192.0.2.1", "10.0.0.1", {"X-Forwarded-For": "192.0.2.1"}),
        ],
    )
    async def test_the_eleventh_of_a_client_is_refused(
        self,
        post: Callable[..., Awaitable[httpx.Response]],
        counted: str,
        eleventh: str,
        headers: dict[str, str],
    ) -> None:
        assert {(await post(counted)).status_code for _ in range(10)} == {422}

        answer = await post(eleventh, headers=headers)

        assert (answer.status_code, answer.json()["type"]) == (429, "/problems/rate-limited")
        assert 0 < int(answer.headers["Retry-After"]) <= 86_400
        assert answer.headers["X-Request-ID"]

    @pytest.mark.parametrize(
        ("counted", "other", "headers"),
        [
            ("192.0.2.1", "192.0.2.2", {}),
            ("2001:db8::1", "2001:db8:0:1::1", {}),
            ("10.0.0.1", "10.0.0.1", {"X-Forwarded-For": "192.0.2.1"}),
        ],
    )
    async def test_another_client_is_not(
        self,
        post: Callable[..., Awaitable[httpx.Response]],
        counted: str,
        other: str,
        headers: dict[str, str],
    ) -> None:
        for _ in range(11):
            await post(counted)

        assert (await post(other, headers=headers)).status_code == 422

    async def test_what_the_headers_show_is_said_first_and_the_body_is_not_read(
        self, post: Callable[..., Awaitable[httpx.Response]]
    ) -> None:
        async def unread() -> AsyncIterator[bytes]:
            raise AssertionError("it was read")
            yield b""

        for _ in range(10):
            await post("192.0.2.1")
        as_json, as_text = {"Content-Type": "application/json"}, {"Content-Type": "text/plain"}
        answers = [
            await post("192.0.2.1", json=None, content=b"x" * 20_000, headers=as_json),
            await post("192.0.2.1", json=None, content=b"x", headers=as_text),
            await post("192.0.2.1", json=None, content=unread(), headers=as_json),
        ]

        assert [answer.status_code for answer in answers] == [413, 415, 429]

    async def test_what_only_asks_is_not_counted(self, settings: Settings) -> None:
        async with running(settings) as live:
            for _ in range(20):
                await live.client.get("/signup/nobody")
                await live.client.options("/signup")

            assert (await live.client.post("/signup", json={"email": "ada@example.com"})).status_code == 201


async def test_two_processes_share_the_limit(database_url: str, relay: ScriptedRelay, tmp_path: Path) -> None:
    environment = {
        "DATABASE_URL": database_url,
        "DATA_DIR": tmp_path,
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": relay.port,
        "SIGNUP_RATE_LIMIT": "10/day",
    }
    constants = {"service.limits.per_client.SHARE_EVERY": 0.1}
    one, two = [
        await Process("serve", folder=tmp_path / name, environment=environment, constants=constants).start()
        for name in ("one", "two")
    ]
    await asyncio.gather(one.ready(), two.ready())
    async with httpx.AsyncClient() as client:

        async def status(process: Process) -> int:
            return (await client.post(f"{process.url}/signup", json={"email": "nobody"})).status_code

        assert [await status(one) for _ in range(11)] == [422] * 10 + [429]
        answers = []

        async def two_knows() -> bool:
            await asyncio.sleep(0.1)
            answers.append(await status(two))
            return answers[-1] == 429

        await eventually(two_knows)

    assert answers.count(422) < 10  # or it has its own limit alone
    await one.stop()
    await two.stop()
