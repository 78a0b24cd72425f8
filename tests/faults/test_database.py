"""PostgreSQL stopped, killed, silent, full, locked and crowded."""

import asyncio
import glob
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from service.database.engine import Database, DatabaseUnavailable
from service.settings import Settings
from tests.faults.recovery import MAX_WAIT, in_time, quiet, ready, recovered, signs_up
from tests.faults.world import Verdict, World, http_client
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.postgres import Postgres
from tests.support.processes import Process
from tests.support.proxy import Proxy
from tests.support.relay import ScriptedRelay
from tests.support.small_disk import fill, mounted

GIVEN_UP = 10.0  # s until a connection is

Proxied = tuple[World, Proxy]


@asynccontextmanager
async def held(postgres: Postgres, statement: str) -> AsyncIterator[asyncpg.Connection]:
    """Another program's transaction, which has done this and goes on."""
    other = await asyncpg.connect(postgres.url("engines"))
    try:
        async with other.transaction():
            await other.execute(statement)
            yield other
    finally:
        await other.close()


async def test_f38_whatever_starts_first(proxied: Proxied, relay: ScriptedRelay, verdict: Verdict) -> None:
    world, proxy = proxied
    proxy.up = False
    await relay.stop()
    service, worker = await world.serve(WORKER="false"), await world.work()
    assert await ready(service) == 503
    assert await world.signup(service) == 503

    proxy.up = True
    await recovered(world, service)
    assert await ready(service) == 200
    await relay.start()

    await world.settled()
    assert worker.alive
    await verdict(world, "F38", "API and worker start before the database, the relay last")


async def test_f39_two_replicas_migrate_at_once(
    postgres: Postgres,
    relay: ScriptedRelay,
    tmp_path: Path,
    constants: Mapping[str, object],
    verdict: Verdict,
) -> None:
    admin = await asyncpg.connect(postgres.url("postgres"))
    await admin.execute("CREATE DATABASE engines")
    await admin.close()
    url = postgres.url("engines")
    migrations = [
        Process("migrate", folder=tmp_path / f"migration-{number}", environment={"DATABASE_URL": url})
        for number in range(2)
    ]

    await asyncio.gather(*(migration.start() for migration in migrations))

    assert [await migration.ended() for migration in migrations] == [0, 0]
    database = Database(Settings(database_url=url))
    world = World(
        database_url=url, database=database, relay=relay, folder=tmp_path / "world", constants=constants
    )
    services = [await world.serve(), await world.serve()]
    assert [await ready(service) for service in services] == [200, 200]
    async with world.load(*services):
        await asyncio.sleep(0.3)
    await world.settled()
    await verdict(world, "F39", "two replicas migrate at once")
    await world.end()
    await database.close()


async def test_f40_a_migration_while_loaded(world: World, verdict: Verdict) -> None:
    service = await world.serve()
    async with world.load(service):
        for statement in (
            "ALTER TABLE users ADD COLUMN nickname TEXT",
            "ALTER TABLE outbox ADD COLUMN opened_at TEXT",
            "CREATE INDEX ix_users_nickname ON users (nickname)",
            "CREATE INDEX ix_outbox_recipient ON outbox (recipient)",
        ):
            await world.migrate(statement)
            await asyncio.sleep(0.2)

    await world.settled()
    figures = await verdict(world, "F40", "columns and indexes are added under load")
    assert set(world.answers.statuses) == {201}
    assert figures.confirmed > 10


@pytest.mark.deadlines
async def test_f40_a_migration_gives_up_before_signups_do(
    proxied: Proxied, postgres: Postgres, verdict: Verdict
) -> None:
    world, _ = proxied
    service = await world.serve()
    async with world.load(service), held(postgres, "LOCK TABLE users IN ACCESS SHARE MODE"):
        await asyncio.sleep(0.2)
        with pytest.raises(
            DatabaseUnavailable, match="lock timeout"
        ):  # whoever waits behind it waits as long
            await world.migrate("ALTER TABLE users ADD COLUMN nickname TEXT")

    await world.settled()
    await verdict(world, "F40", "a migration meets a backup that reads the users")
    assert set(world.answers.statuses) == {201}


@pytest.mark.deadlines
async def test_f43_stopped_at_once_and_started_again_and_again(
    proxied: Proxied, postgres: Postgres, verdict: Verdict, long: bool
) -> None:
    world, _ = proxied
    service = await world.serve()
    async with world.load(service):
        for _ in range(6 if long else 2):
            await asyncio.sleep(0.5)
            await asyncio.to_thread(postgres.stop, signal.SIGQUIT)
            assert await world.signup(service) == 503
            assert await ready(service) == 503
            await asyncio.to_thread(postgres.start)
            await recovered(world, service)

    await quiet(world, service, long=long)
    figures = await verdict(world, "F43", "PostgreSQL is stopped at once and started, again and again")
    assert set(world.answers.statuses) <= {201, 503}
    assert in_time(world, long=long)
    assert figures.duplicates == 0


async def test_f44_the_postmaster_is_killed(
    proxied: Proxied, postgres: Postgres, verdict: Verdict, long: bool
) -> None:
    world, _ = proxied
    service = await world.serve()
    async with world.load(service):
        for _ in range(6 if long else 1):
            await asyncio.sleep(0.5)
            await asyncio.to_thread(postgres.stop, signal.SIGKILL)
            await asyncio.to_thread(postgres.start)
            await recovered(world, service)

    await quiet(world, service, long=long)
    await verdict(world, "F44", "the postmaster is killed with -9")
    assert set(world.answers.statuses) <= {201, 503}


@pytest.mark.parametrize("arrived", [False, True], ids=["the statement is lost", "its answer is lost"])
async def test_f45_the_end_of_a_commit_is_lost(
    proxied: Proxied, arrived: bool, verdict: Verdict, long: bool
) -> None:
    world, proxy = proxied
    service = await world.serve()
    # One statement stores a signup and commits by itself; its answer ends with this tag.
    sign = b"INSERT 0 1" if arrived else b"ada@example.com"
    proxy.cut_when = lambda to_server, piece: sign in piece and to_server is not arrived
    assert await world.signup(service, name="ada", key="once") == 503
    stored = await rows(world.database, "SELECT id FROM users")
    assert len(stored) == arrived

    proxy.cut_when = None
    assert await world.signup(service, name="ada", key="once") == 201

    await quiet(world, service, long=long)
    what = "the answer to a commit is lost" if arrived else "a commit is lost"
    figures = await verdict(world, "F45", f"{what}; the client tries again with its key")
    assert len(await rows(world.database, "SELECT id FROM users")) == 1
    assert (figures.confirmed, len(world.relay.accepted)) == (1, 1)


async def test_f46_connections_are_terminated_in_the_middle(
    proxied: Proxied, verdict: Verdict, long: bool
) -> None:
    world, _ = proxied
    service = await world.serve()
    async with world.load(service):
        for _ in range(50 if long else 5):
            await asyncio.sleep(0.2)
            await _terminate_all(world.database)

    assert await world.signup(service) == 201
    await quiet(world, service, long=long)
    await verdict(world, "F46", "every connection is terminated, again and again")
    assert set(world.answers.statuses) <= {201, 503}


async def _terminate_all(database: Database) -> None:
    await rows(
        database,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


async def test_f47_stale_connections_after_a_restart(
    proxied: Proxied, postgres: Postgres, verdict: Verdict
) -> None:
    world, _ = proxied
    service = await world.serve()
    await world.signups(service, 50)
    await world.settled()

    await asyncio.to_thread(postgres.stop)
    await asyncio.to_thread(postgres.start)
    await world.signups(service, 50)

    await world.settled()
    await verdict(world, "F47", "PostgreSQL is restarted while the service idles")
    assert world.answers.statuses == {201: 100}


@pytest.mark.deadlines
async def test_f48_the_pool_is_exhausted(
    proxied: Proxied, postgres: Postgres, verdict: Verdict, long: bool
) -> None:
    world, _ = proxied
    service = await world.serve()

    async with held(postgres, "LOCK TABLE users, outbox, audit_log"), http_client() as client:
        states = (client.get(f"{service.url}/signup/{uuid4()}") for _ in range(20))
        readers = asyncio.gather(*states)
        await world.signups(service, 20, at_once=20)
        answers = await readers

    assert {(answer.status_code, "Retry-After" in answer.headers) for answer in answers} == {(503, True)}
    assert world.answers.statuses == {503: 20}
    assert in_time(world, long=long)
    await recovered(world, service)
    await quiet(world, service, long=long)
    await verdict(world, "F48", "every connection of the pool waits for a lock")


@asynccontextmanager
async def world_of(
    server: Postgres, relay: ScriptedRelay, tmp_path: Path, constants: Mapping[str, object]
) -> AsyncIterator[World]:
    """For servers with peculiar limits."""
    url = await server.created("engines")
    database = Database(Settings(database_url=url))
    world = World(
        database_url=url, database=database, relay=relay, folder=tmp_path / "world", constants=constants
    )
    try:
        yield world
    finally:
        await world.end()
        await database.close()
        server.remove()


@pytest.mark.deadlines
async def test_f49_somebody_else_has_taken_every_connection(
    relay: ScriptedRelay, tmp_path: Path, constants: Mapping[str, object], verdict: Verdict, long: bool
) -> None:
    server = Postgres(max_connections="10", superuser_reserved_connections="0")
    async with world_of(server, relay, tmp_path, constants) as world:
        crowd = [await asyncpg.connect(world.database_url) for _ in range(10)]
        service = await world.serve()
        assert await world.signup(service) == 503
        assert in_time(world, long=long)
        assert await ready(service) == 503

        for connection in crowd:
            await connection.close()
        await recovered(world, service)

        await quiet(world, service, long=long)
        await verdict(world, "F49", "max_connections is reached by somebody else")


@pytest.mark.deadlines
async def test_f50_somebody_holds_a_lock_on_the_users(
    proxied: Proxied, postgres: Postgres, verdict: Verdict, long: bool
) -> None:
    world, _ = proxied
    service = await world.serve()
    await world.signups(service, 20)

    async with held(postgres, "LOCK TABLE users"):
        await world.signups(service, 8)
        assert world.answers.statuses == {201: 20, 503: 8}
        assert in_time(world, long=long)
        if long:
            await asyncio.sleep(GIVEN_UP)
            assert not await rows(world.database, "SELECT pid FROM pg_locks WHERE NOT granted")

    await recovered(world, service)
    await quiet(world, service, long=long)
    await verdict(world, "F50", "somebody holds ACCESS EXCLUSIVE on the users")


async def test_f51_a_deadlock_is_nobody_elses_business(
    proxied: Proxied, postgres: Postgres, verdict: Verdict
) -> None:
    world, _ = proxied
    async with world.database.transaction() as connection:
        await connection.exec_driver_sql("ALTER DATABASE engines SET deadlock_timeout = '500ms'")
    service = await world.serve(WORKER="false")

    async with held(postgres, "SET LOCAL deadlock_timeout = '1min'") as other:
        await other.execute(_user("grace"))
        await other.execute("SAVEPOINT first")
        await other.execute(_user("first"))
        signups = [asyncio.create_task(world.signup(service, name="first"))]
        await eventually(lambda: _waits(world.database))
        # While that one waits these two come together into one batch, in the order of their addresses.
        signups += [asyncio.create_task(world.signup(service, name=name)) for name in ("ada", "grace")]
        await asyncio.sleep(0.5)
        await other.execute("ROLLBACK TO first")
        await signups[0]
        await eventually(lambda: _waits(world.database))
        await other.execute(_user("ada"))
        await other.execute("ROLLBACK; BEGIN")

    assert await asyncio.gather(*signups) == [201, 201, 201]
    assert "deadlock detected" in postgres.log
    await world.work()
    await world.settled()
    await verdict(world, "F51", "a deadlock")


def _user(name: str) -> str:
    return (
        "INSERT INTO users (id, email, canonical_email, created_at)"
        f" VALUES (gen_random_uuid(), '{name}@example.com', '{name}@example.com', now())"
    )


async def _waits(database: Database) -> list[dict[str, object]]:
    return await rows(database, "SELECT pid FROM pg_locks WHERE NOT granted")


@pytest.mark.deadlines
@pytest.mark.long  # it takes root to mount a disk
async def test_f52_the_disk_is_full(
    small_disk: Path,
    relay: ScriptedRelay,
    tmp_path: Path,
    constants: Mapping[str, object],
    verdict: Verdict,
    long: bool,
) -> None:
    server = Postgres(min_wal_size="32MB", max_wal_size="48MB")
    async with world_of(server, relay, tmp_path, constants) as world:
        service = await world.serve()
        await world.signups(service, 100)
        filler = small_disk / "filler"
        fill(filler)
        while world.answers.statuses[503] < 20:
            await world.signups(service, 100)
        assert in_time(world, long=long)

        filler.unlink()
        await asyncio.to_thread(server.start)  # as compose does, if it has shut itself down
        await recovered(world, service)

        await quiet(world, service, long=long)
        await verdict(world, "F52", "the disk of PostgreSQL is full")
        assert set(world.answers.statuses) == {201, 503}


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary folders go meanwhile."""
    with tempfile.TemporaryDirectory() as folder, mounted(Path(folder), size="160m"):
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.mark.deadlines
async def test_f57_packets_are_dropped(proxied: Proxied, verdict: Verdict, long: bool) -> None:
    world, proxy = proxied
    given_up = GIVEN_UP if long else 3.0
    world.constants["service.database.engine.TRANSACTION_TIMEOUT"] = given_up
    service = await world.serve()
    await world.signups(service, 50)
    await world.settled()

    proxy.swallow()
    await world.signups(service, 8)
    assert world.answers.statuses == {201: 50, 503: 8}
    assert in_time(world, long=long)
    await eventually(lambda: signs_up(world, service), within=given_up + (MAX_WAIT if long else 2 * MAX_WAIT))

    await quiet(world, service, long=long)
    await verdict(world, "F57", "the packets of every database connection are dropped")


@pytest.mark.deadlines
async def test_f57_the_end_does_not_wait_for_a_silent_database(proxied: Proxied) -> None:
    world, proxy = proxied
    service = await world.serve()
    await world.signups(service, 20)
    await world.settled()

    proxy.flowing.clear()
    service.signal(signal.SIGTERM)

    assert await service.ended(within=15) == 0


MISSING = ("ALTER TABLE audit_log RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO audit_log")


async def test_f66_the_audit_table_is_missing(world: World, verdict: Verdict) -> None:
    service = await world.serve()
    await world.migrate(MISSING[0])
    await world.signups(service, 20)
    await audit_is_known_to_wait(service, ready=200)

    await world.migrate(MISSING[1])
    await world.settled()

    assert world.answers.statuses == {201: 20}
    await verdict(world, "F66", "the audit table is missing for a while")


async def test_f66_entries_may_not_be_inserted(
    proxied: Proxied, postgres: Postgres, verdict: Verdict
) -> None:
    world, proxy = proxied
    await world.migrate(
        "CREATE ROLE signups LOGIN",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO signups",
        "REVOKE INSERT ON audit_log FROM signups",
    )
    world.database_url = postgres.url("engines", port=proxy.port).replace("postgres@", "signups@")
    service = await world.serve()
    await world.signups(service, 20)
    await audit_is_known_to_wait(service, ready=200)

    await world.migrate("GRANT INSERT ON audit_log TO signups")
    await world.settled()

    assert world.answers.statuses == {201: 20}
    await verdict(world, "F66", "no right to insert audit entries for a while")


async def test_f66_the_database_is_away(proxied: Proxied, verdict: Verdict) -> None:
    world, proxy = proxied
    service = await world.serve()
    proxy.up = False
    proxy.reset()
    await world.signups(service, 20)
    await audit_is_known_to_wait(service, ready=503)

    proxy.up = True
    await world.settled()

    assert world.answers.statuses == {503: 20}
    await recovered(world, service)
    await world.settled()
    await verdict(world, "F66", "the database is away for a while")


async def audit_is_known_to_wait(service: Process, *, ready: int) -> None:
    async def known() -> bool:
        async with http_client() as client:
            readiness = await client.get(f"{service.url}/readyz")
            metrics = (await client.get(f"{service.url}/metrics")).text
        waiting = float(metrics.partition("\naudit_spool_bytes ")[2].partition("\n")[0])
        return waiting > 0 and readiness.json()["audit"] != "ok" and readiness.status_code == ready

    await eventually(known)


FAKETIME = "/usr/lib/*/faketime/libfaketime.so.1"


@pytest.mark.long  # it takes Debian's libfaketime
@pytest.mark.parametrize("engine_name", ["postgresql"])
async def test_f59_clocks_differ_by_an_hour(world: World, relay: ScriptedRelay, verdict: Verdict) -> None:
    libraries = glob.glob(FAKETIME)
    assert libraries, "install Debian's faketime"
    relay.delays["dot"] = 0.5  # so that there is always something to steal
    services = [
        await world.serve(LD_PRELOAD=libraries[0], FAKETIME=by, FAKETIME_DONT_FAKE_MONOTONIC=1)
        for by in ("+0h", "+1h", "-1h")
    ]

    async with world.load(*services, clients=9):
        await asyncio.sleep(10)

    await world.settled()
    figures = await verdict(world, "F59", "two of three clocks are off by an hour")
    assert set(world.answers.statuses) == {201}
    assert figures.duplicates == 0
