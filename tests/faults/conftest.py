"""Creates a world for each fault, and one table of all results."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from service.database.engine import Database
from service.outbox.row import BACKOFF
from service.settings import Settings
from tests.faults.checker import EXPLANATION, Figures
from tests.faults.world import Verdict, World
from tests.support.postgres import Postgres
from tests.support.proxy import Proxy
from tests.support.receiver import Receiver
from tests.support.relay import ScriptedRelay

# In `make test` the service's own pauses take a tenth of their time, or the tests would mostly wait for them.
SHORT_PAUSES: dict[str, object] = {
    "service.audit.log.MOVE_DELAY": 0.02,
    "service.audit.log.TRY_AGAIN_AFTER": 0.1,
    "service.delivery.assembly.EVENTS_GATHER": 0.025,
    "service.delivery.assembly.EVENTS_LOOK_AGAIN": 0.05,
    "service.delivery.circuit_breaker.FIRST_PAUSE": 0.1,
    "service.delivery.deliver.RECORD_AGAIN_AFTER": 0.05,
    "service.delivery.worker.LOOK_EVERY": 0.1,
    "service.observability.shared_counters.WRITE_EVERY": 0.5,
    "service.outbox.row.BACKOFF": tuple(pause / 10 for pause in BACKOFF),
}
ROW = "row of the table"  # part of the report, whichever process ran the test


@pytest.fixture
async def world(
    database_url: str,
    database: Database,
    relay: ScriptedRelay,
    tmp_path: Path,
    constants: Mapping[str, object],
) -> AsyncIterator[World]:
    """On SQLite and on the shared PostgreSQL, which must not be harmed."""
    world = World(
        database_url=database_url,
        database=database,
        relay=relay,
        folder=tmp_path / "world",
        constants=constants,
    )
    yield world
    await world.end()


@pytest.fixture
async def wire(world: World) -> AsyncIterator[Proxy]:
    """Between the service and the relay."""
    wire = await Proxy.started(world.relay.port)
    yield wire
    await wire.stop()


@pytest.fixture
async def receiver(world: World) -> AsyncIterator[Receiver]:
    """Of the events that the world's services send."""
    world.receiver = await Receiver.started()
    yield world.receiver
    await world.end()
    await world.receiver.stop()


@pytest.fixture
async def postgres(long: bool) -> AsyncIterator[Postgres]:
    """A server for this test only, which it may stop and kill."""
    server = Postgres() if long else Postgres(fsync="off")  # that is for disks that lose their power
    yield server
    server.remove()


@pytest.fixture
async def proxied(
    postgres: Postgres, relay: ScriptedRelay, tmp_path: Path, constants: Mapping[str, object]
) -> AsyncIterator[tuple[World, Proxy]]:
    """On its own PostgreSQL. The service's connections go through a proxy, the checker's do not."""
    url = await postgres.created("engines")
    proxy = await Proxy.started(postgres.port)
    database = Database(Settings(database_url=url, data_dir=tmp_path))
    through = postgres.url("engines", port=proxy.port)
    world = World(
        database_url=through,
        database=database,
        relay=relay,
        folder=tmp_path / "world",
        constants=constants,
    )
    yield world, proxy
    await world.end()
    await proxy.stop()
    await database.close()


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Whether this is `make faults`: more rounds, and the real waiting times."""
    return bool(request.config.getoption("--long"))


@pytest.fixture
def calm(long: bool) -> float:
    """How many seconds p99 of the answers may be while the relay is in trouble: much less than a wait for the
    relay. Only `make faults` has the machine to itself."""
    return 1.0 if long else 5.0


@pytest.fixture
def constants(long: bool) -> Mapping[str, object]:
    """Of the service, by their whole names, that are not as ever."""
    return {} if long else SHORT_PAUSES


@pytest.fixture
def verdict(request: pytest.FixtureRequest) -> Verdict:
    """Asserts that something was promised and all of it kept, and adds a row to the table."""

    async def verdict(world: World, fault: str, what: str) -> Figures:
        found = await world.figures()
        engine = "sqlite" if world.database.is_sqlite else "postgresql"
        request.node.user_properties.append((ROW, found.row(fault, what, engine)))
        assert found.confirmed, found
        assert found.kept, found
        return found

    return verdict


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reports = [report for found in terminalreporter.stats.values() for report in found]
    kept = [
        value for report in reports for name, value in getattr(report, "user_properties", ()) if name == ROW
    ]
    if not kept:
        return
    lines = [Figures.heading(), *sorted(set(kept), key=_order)]
    terminalreporter.write_line("\n" + "\n".join(lines))
    if path := config.getoption("--table"):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(EXPLANATION + "\n".join(lines) + "\n")


def _order(row: str) -> tuple[int, str]:
    fault = row.split("|")[1]
    return int("".join(filter(str.isdigit, fault)) or 0), row
