"""Real parts for every test: two databases, an SMTP server, the app with its lifespan."""

import asyncio
import os
import shutil
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import hypothesis
import pytest
import structlog
import trustme
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.database import migrations
from service.database.engine import Database
from service.observability.metrics import Metrics
from service.outbox.repository import Outbox
from service.runtime.gc_tuning import tune_gc
from service.settings import Settings
from tests.support import template_cache
from tests.support.app import running
from tests.support.database import copy_database, execute, with_database
from tests.support.deal import deal
from tests.support.patience import be_patient
from tests.support.postgres import Postgres
from tests.support.relay import ScriptedRelay
from tests.support.reused_database import ReusedDatabase
from tests.support.shared_app import SharedApp
from tests.support.statement_cache import StatementCache
from tests.support.temporary import prefer_memory

hypothesis.settings.register_profile("ours", deadline=None)  # a busy machine may take long for an example
hypothesis.settings.load_profile("ours")


# Folders, and files, of tests that take seconds each.
TAKE_SECONDS = {"browser", "faults", "tools", "test_backup_and_restore.py", "test_typescript.py"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long", action="store_true", help="all faults, with many rounds and real waiting times"
    )
    parser.addoption("--table", help="the file for the table of faults and figures")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, because the tests of faults mostly wait."""
    return (os.cpu_count() or 1) + 1


def pytest_configure(config: pytest.Config) -> None:
    prefer_memory(basetemp=config.option.basetemp)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long"):
        left_out = [item for item in items if _is_for_long_runs(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    workers: int = getattr(config, "workerinput", {}).get("workercount", 1)
    items[:] = deal(items, _takes_seconds, workers=workers)


def pytest_collection_finish() -> None:
    tune_gc()  # thousands of collected tests are not garbage


def _takes_seconds(item: pytest.Item) -> bool:
    return not TAKE_SECONDS.isdisjoint(item.path.parts)


def _is_for_long_runs(item: pytest.Item) -> bool:
    """Marked so, or a fault on SQLite that does not come from the database: PostgreSQL does for those."""
    on_sqlite = "faults" in item.path.parts and "[sqlite" in item.name
    return bool(item.get_closest_marker("long") or (on_sqlite and not item.get_closest_marker("both")))


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside(tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in Settings.model_fields:
        os.environ.pop(name.upper(), None)
    os.chdir(tmp_path_factory.mktemp("elsewhere"))  # away from the developer's .env


@pytest.fixture(scope="session", autouse=True)
def _plain_log_lines() -> None:
    processors = structlog.processors
    structlog.configure([processors.add_log_level, processors.format_exc_info, processors.KeyValueRenderer()])


@pytest.fixture(scope="session", autouse=True)
def _background_loops_go_round_often() -> Iterator[None]:
    """A test that waits for one of them would wait for a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.observability.shared_counters.WRITE_EVERY", 0.05)
        patch.setattr("service.audit.log.MOVE_DELAY", 0.01)
        patch.setattr("service.delivery.worker.LOOK_EVERY", 0.1)
        patch.setattr("service.delivery.circuit_breaker.FIRST_PAUSE", 0.1)
        patch.setattr("service.delivery.assembly.EVENTS_GATHER", 0.01)
        patch.setattr("service.delivery.assembly.EVENTS_LOOK_AGAIN", 0.05)
        yield


@pytest.fixture(scope="session", autouse=True)
def _templates_are_compiled_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        template_cache.compile_once(patch)
        yield


@pytest.fixture(scope="session", autouse=True)
def _statements_are_compiled_once() -> Iterator[None]:
    """Every engine compiles the same ones: half of what a test's first signup takes."""
    cache = StatementCache()

    def create_engine(*arguments: Any, **options: Any) -> AsyncEngine:
        engine = create_async_engine(*arguments, **options)
        engine.sync_engine._compiled_cache = cache
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.database.engine.create_async_engine", create_engine)
        yield


@pytest.fixture(scope="session", autouse=True)
def _authorities_are_loaded_once() -> Iterator[None]:
    """Every client with an SSL context of its own loads them: that takes longer than all else it does."""

    @cache
    def create(verify: object, cert: object, trust_env: bool, *_: str | None) -> ssl.SSLContext:
        return httpx.create_ssl_context(verify=verify, cert=cert, trust_env=trust_env)  # type: ignore[arg-type]  # as it was given

    def create_once(verify: object = True, cert: object = None, trust_env: bool = True) -> ssl.SSLContext:
        return create(verify, cert, trust_env, *map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR")))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpx._transports.default.create_ssl_context", create_once)
        yield


@pytest.fixture(autouse=True)
def _patience(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if not request.node.get_closest_marker("deadlines"):
            be_patient(patch)
        yield


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Of the maintenance database of a real PostgreSQL."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    server = Postgres(
        fsync="off", full_page_writes="off"
    )  # no test pulls the plug; those that kill it start their own
    yield server.url("postgres")
    server.remove()


@pytest.fixture(scope="session")
def migrated_template(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    name = f"template_{uuid4().hex}"
    asyncio.run(execute(postgres_url, f"CREATE DATABASE {name}"))
    asyncio.run(_migrate(with_database(postgres_url, name), tmp_path_factory.mktemp("data")))
    yield name
    asyncio.run(execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("migrated")
    asyncio.run(_migrate("", folder))
    return folder / "service.db"


@pytest.fixture(scope="session")
def reused_database(postgres_url: str, migrated_template: str) -> Iterator[ReusedDatabase]:
    database = ReusedDatabase(postgres_url, template=migrated_template)
    yield database
    database.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
async def empty_database_url(
    engine_name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[str]:
    if engine_name == "sqlite":
        async with _own_threads_end():
            yield f"sqlite:///{tmp_path}/empty.db"
        return
    url, name = request.getfixturevalue("postgres_url"), f"test_{uuid4().hex}"
    await execute(url, f"CREATE DATABASE {name}")
    yield with_database(url, name)
    await execute(url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def on_postgresql(engine_name: str, request: pytest.FixtureRequest) -> ReusedDatabase | None:
    """Looked up only where it is needed: no server is started for tests on SQLite."""
    return request.getfixturevalue("reused_database") if engine_name == "postgresql" else None


@pytest.fixture(scope="session")
def _shared_app_on_sqlite(
    migrated_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SharedApp]:
    folder = tmp_path_factory.mktemp("shared")
    shutil.copy(migrated_file, folder / "service.db")
    yield from _shared_app(f"sqlite:///{folder}/service.db", folder)


@pytest.fixture(scope="session")
def _shared_app_on_postgresql(
    postgres_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SharedApp]:
    with copy_database(postgres_url, migrated_template) as url:
        yield from _shared_app(url, tmp_path_factory.mktemp("shared"))


def _shared_app(url: str, folder: Path) -> Iterator[SharedApp]:
    app = SharedApp(_settings(url, folder))
    yield app
    app.stop()


@pytest.fixture
def shared_app(request: pytest.FixtureRequest) -> Iterator[SharedApp | None]:
    """For tests marked so. One that changes settings builds an app of its own, and so has no `client`."""
    if not request.node.get_closest_marker("shares_app") or "client" not in request.fixturenames:
        yield None
        return
    engine_name = request.getfixturevalue("engine_name")
    app: SharedApp = request.getfixturevalue(f"_shared_app_on_{engine_name}")
    yield app
    app.empty()


@pytest.fixture
async def database_url(
    shared_app: SharedApp | None, on_postgresql: ReusedDatabase | None, migrated_file: Path, tmp_path: Path
) -> AsyncIterator[str]:
    """A migrated database that only this test uses, or shares."""
    if shared_app:
        yield shared_app.settings.database_url.get_secret_value()
        return
    if on_postgresql:
        yield await on_postgresql.empty()
        return
    shutil.copy(migrated_file, tmp_path / "service.db")
    async with _own_threads_end():
        yield f"sqlite:///{tmp_path}/service.db"


@pytest.fixture
async def relay(shared_app: SharedApp | None) -> AsyncIterator[ScriptedRelay]:
    if shared_app:
        yield shared_app.relay
        return
    relay = await ScriptedRelay.started()
    yield relay
    await relay.stop()


@pytest.fixture
def settings(database_url: str, relay: ScriptedRelay, tmp_path: Path) -> Settings:
    return _settings(database_url, tmp_path).model_copy(update={"smtp_port": relay.port})


def _settings(database_url: str, data_dir: Path) -> Settings:
    return _common_settings().model_copy(
        update={"database_url": SecretStr(database_url), "data_dir": data_dir}
    )


@cache  # reading the environment takes as long as a request
def _common_settings() -> Settings:
    return Settings(
        smtp_host="127.0.0.1",
        product_name="Analytical Engines",
        public_url="https://engines.example.com",
        cors_origins="https://app.example.com",
        signup_rate_limit="",  # every test's client has the same address
        log_format="json",
    )


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    database = Database(settings)
    yield database
    await database.close()


@pytest.fixture
def authority(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """The certificate authority that this machine trusts."""
    authority = trustme.CA()
    file = tmp_path_factory.mktemp("authority") / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("SSL_CERT_DIR", str(file.parent / "none"))
    return authority


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def outbox(database: Database, metrics: Metrics) -> Outbox:
    return Outbox(database, metrics)


@pytest.fixture
async def client(shared_app: SharedApp | None, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    if shared_app:
        async with shared_app.client() as client:
            yield client
        return
    async with running(settings) as live:
        yield live.client


async def _migrate(url: str, folder: Path) -> None:
    database = Database(Settings(database_url=url, data_dir=folder))
    await migrations.migrate(database)
    await database.close()


@asynccontextmanager
async def _own_threads_end() -> AsyncIterator[None]:
    """A connection that was cut off, because its task was cancelled, ends in its own time, and its thread
    must not speak to a loop that is gone by then. The servers that many tests share keep theirs."""
    others = set(threading.enumerate())
    yield
    for thread in threading.enumerate():
        if thread not in others and "_connection_worker_thread" in thread.name:  # aiosqlite's
            await asyncio.to_thread(thread.join, 5)
