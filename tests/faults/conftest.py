"""A world for each fault, and one table of what the invariants said."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from service.database import Database
from service.settings import Settings
from tests.conftest import LONG
from tests.faults.checker import Figures
from tests.faults.proxy import Proxy
from tests.faults.world import World
from tests.postgres import Postgres
from tests.relay import ScriptedRelay

Verdict = Callable[[World, str, str], Awaitable[Figures]]

TABLE = pytest.StashKey[list[tuple[str, str, str, Figures]]]()


@pytest.fixture
async def world(
    database_url: str, database: Database, relay: ScriptedRelay, tmp_path: Path
) -> AsyncIterator[World]:
    """On SQLite and on the shared PostgreSQL, neither of which is hurt."""
    world = World(database_url=database_url, database=database, relay=relay, folder=tmp_path / "world")
    yield world
    await world.end()


@pytest.fixture
async def postgres() -> AsyncIterator[Postgres]:
    """A server of the test's own, to be stopped and killed."""
    server = Postgres()
    yield server
    server.remove()


@pytest.fixture
async def proxied(
    postgres: Postgres, relay: ScriptedRelay, tmp_path: Path
) -> AsyncIterator[tuple[World, Proxy]]:
    """On a PostgreSQL of its own, whose connections lead through a proxy; the checker's do not."""
    url = await postgres.created("engines")
    proxy = await Proxy.started(postgres.port)
    database = Database(Settings(database_url=url, data_dir=tmp_path))
    through = postgres.url("engines", port=proxy.port)
    world = World(database_url=through, database=database, relay=relay, folder=tmp_path / "world")
    yield world, proxy
    await world.end()
    await proxy.stop()
    await database.close()


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Whether this is `make faults`: more rounds, and the real waiting times."""
    return bool(request.config.getoption(LONG))


@pytest.fixture
def verdict(request: pytest.FixtureRequest) -> Verdict:
    """Asserts that the promise was kept, and puts the figures into the table."""

    async def verdict(world: World, fault: str, what: str) -> Figures:
        found = await world.figures()
        engine = "sqlite" if world.database.is_sqlite else "postgresql"
        request.config.stash.setdefault(TABLE, []).append((fault, what, engine, found))
        assert found.kept, found
        return found

    return verdict


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(TABLE, [])
    if not found:
        return
    lines = [Figures.heading(), *(figures.row(*what) for *what, figures in sorted(found, key=_order))]
    path = config.getoption("--table")
    if path:
        Path(path).write_text("\n".join(lines) + "\n")
    terminalreporter.write_line("\n" + "\n".join(lines))


def _order(entry: tuple[str, str, str, Figures]) -> tuple[int, str]:
    fault, _, engine, _ = entry
    return int("".join(filter(str.isdigit, fault)) or 0), engine
