"""The test bed: starts the processes that a variant needs, such as its server, its relay and its clients."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

from bench import processes
from bench.databases import Databases, Store
from bench.load import Answers
from bench.processes import Running, run_module
from bench.smtp_sink import HANG, Counter
from tests.support.ports import free_port

WARM_UP = 1.0  # s


class Testbed:
    """For one engine. `kept` holds what is used in all rounds."""

    def __init__(self, databases: Databases, *, seconds: float, folder: Path, kept: AsyncExitStack) -> None:
        self.databases = databases
        self.seconds = seconds
        self.kept = kept
        self.stores: dict[int, Store] = {}
        self._folder = folder

    @asynccontextmanager
    async def service(
        self, *command: str, store: Store, smtp_port: int | None = None, **settings: object
    ) -> AsyncIterator[Running]:
        """Without `smtp_port` there is no relay."""
        folder, port = self._new_folder(), free_port()
        environment = {
            "DATABASE_URL": store.url,
            "DATA_DIR": folder / "data",
            "PORT": port,
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": smtp_port or free_port(),
            "SIGNUP_RATE_LIMIT": "100000000/minute",  # high, because all requests come from one client
            **settings,
        }
        async with run_module(*command, folder=folder, port=port, environment=environment) as process:
            yield process

    @asynccontextmanager
    async def uvicorn(self, app: str, **environment: object) -> AsyncIterator[Running]:
        """Starts the app as everybody does."""
        port = free_port()
        command = ("uvicorn", app, "--port", str(port))
        async with run_module(
            *command, folder=self._new_folder(), port=port, environment=environment
        ) as server:
            await server.wait_until_answering()
            yield server

    @asynccontextmanager
    async def sink(self, reply_after: float = 0.0) -> AsyncIterator[tuple[int, Counter]]:
        """Its port, and the counter of the mails that it accepted. Each reply takes `reply_after` seconds."""
        folder, port = self._new_folder(), free_port()
        folder.mkdir()
        counter = Counter(folder / "count")
        sink = "bench.smtp_sink", port, folder / "count", reply_after
        async with run_module(*sink, folder=folder, port=port) as relay:
            await relay.wait_until_accepting()
            yield port, counter

    @asynccontextmanager
    async def hanging_relay(self) -> AsyncIterator[int]:
        port = free_port()
        async with run_module("bench.smtp_sink", port, HANG, folder=self._new_folder(), port=port) as relay:
            await relay.wait_until_accepting()
            yield port

    @asynccontextmanager
    async def pool(self, smtp_port: int) -> AsyncIterator[None]:
        async with run_module("bench.smtp_pool", smtp_port, folder=self._new_folder()):
            yield

    async def warm_up(self, server: Running) -> Answers:
        return await processes.load(server.port, seconds=WARM_UP, folder=self._folder)

    async def load(self, server: Running) -> Answers:
        return await processes.load(server.port, seconds=self.seconds, folder=self._folder)

    def _new_folder(self) -> Path:
        return self._folder / uuid4().hex
