"""Several hosts over one PostgreSQL: two APIs and two workers, directly and through PgBouncer."""

import asyncio
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from tests.faults.world import Verdict, World, http_client
from tests.support.ports import free_port
from tests.support.postgres import Postgres, unprivileged
from tests.support.processes import Process
from tests.support.proxy import Proxy

Test = TypeVar("Test", bound=Callable[..., object])

PGBOUNCER = shutil.which("pgbouncer")  # without it `make test` leaves its test out


def with_pgbouncer(test: Test) -> Test:
    return test if PGBOUNCER else pytest.mark.long(test)


async def hosts(world: World, *, each: int = 2) -> tuple[list[Process], list[Process]]:
    """Some that answer and some that send, each with a disk of its own."""

    def disk() -> Path:
        return world.folder / f"host-{len(world.processes)}"

    services = [await world.serve(WORKER="false", DATA_DIR=disk()) for _ in range(each)]
    return services, [await world.work(DATA_DIR=disk()) for _ in range(each)]


async def lively(world: World, services: list[Process], *, seconds: float) -> None:
    """Signups, and people who ask what became of theirs."""

    async def ask(service: Process) -> None:
        async with http_client() as client:
            while not over.is_set():
                for user in list(world.answers.confirmed.values())[-8:]:
                    answer = await client.get(f"{service.url}/signup/{user}")
                    assert (answer.status_code, answer.json()["id"]) == (200, user)
                await asyncio.sleep(0)

    over = asyncio.Event()
    async with world.load(*services), asyncio.TaskGroup() as asking:
        for service in services * 4:
            asking.create_task(ask(service))
        await asyncio.sleep(seconds)
        over.set()


@pytest.mark.parametrize("engine_name", ["postgresql"])
async def test_two_apis_and_two_workers(world: World, verdict: Verdict, long: bool) -> None:
    services, _ = await hosts(world)

    await lively(world, services, seconds=20 if long else 2)

    await world.settled()
    figures = await verdict(world, "hosts", "two APIs and two workers")
    assert set(world.answers.statuses) == {201}
    assert figures.duplicates == 0


@pytest.mark.parametrize("engine_name", ["postgresql"])
async def test_the_schema_of_the_next_release_beside_this_one(world: World, verdict: Verdict) -> None:
    services, _ = await hosts(world, each=1)
    async with world.load(*services):
        await world.migrate(
            "ALTER TABLE users ADD COLUMN nickname TEXT", "UPDATE alembic_version SET version_num = '9999'"
        )
        later, _ = await hosts(world, each=1)
        async with world.load(*later):
            await asyncio.sleep(1)

    async with http_client() as client:
        for service in [*services, *later]:
            assert (await client.get(f"{service.url}/readyz")).status_code == 200
    await world.settled()
    figures = await verdict(
        world, "hosts", "an API and a worker, and another pair started on the next schema"
    )
    assert set(world.answers.statuses) == {201}
    assert figures.duplicates == 0


@with_pgbouncer
async def test_through_pgbouncer(
    proxied: tuple[World, Proxy], postgres: Postgres, verdict: Verdict, long: bool
) -> None:
    world, _ = proxied
    with pgbouncer(postgres) as world.database_url:
        services, workers = await hosts(world)
        await lively(world, services, seconds=20 if long else 2)
        if long:  # and the mails in hand come a minute later
            await world.kill(workers[0])
            await world.kill(services[0])
            await lively(world, services[1:], seconds=5)
            await world.serve(WORKER="false", DATA_DIR=world.folder / "host-0")

        await world.settled()
        await verdict(world, "hosts", "two APIs and two workers through PgBouncer")
        await world.end()
    assert set(world.answers.statuses) == {201}
    assert "prepared statement" not in postgres.log
    assert "ERROR" not in postgres.log


@contextmanager
def pgbouncer(postgres: Postgres) -> Iterator[str]:
    """Fewer connections to the server than the clients want, so that they keep changing places."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        configuration = Path(folder) / "pgbouncer.ini"
        configuration.write_text(
            "[databases]\n"
            f"engines = host=127.0.0.1 port={postgres.port} user=postgres\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            "auth_type = any\npool_mode = transaction\ndefault_pool_size = 3\n"
        )
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(
                [PGBOUNCER or "pgbouncer", str(configuration)], stdout=log, stderr=log, **unprivileged()
            )
        try:
            yield postgres.url("engines", port=port)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
