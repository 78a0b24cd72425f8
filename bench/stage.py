"""The processes around a variant: its server, its relay, its clients."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

from bench import processes
from bench.databases import Databases, Store
from bench.load import Answers
from bench.processes import Running, running
from bench.sink import HANG, Counter
from tests.support.ports import free_port

WARM_UP = 1.0  # s


class Stage:
    """On one engine. `kept` holds what lasts for all rounds."""

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
        """Without a port of a relay there is none."""
        folder, port = self._new_folder(), free_port()
        environment = {
            "DATABASE_URL": store.url,
            "DATA_DIR": folder / "data",
            "PORT": port,
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": smtp_port or free_port(),
            "SIGNUP_RATE_LIMIT": "100000000/minute",  # counts as ever, but one client makes all the load
            **settings,
        }
        async with running(*command, folder=folder, port=port, environment=environment) as process:
            yield process

    @asynccontextmanager
    async def uvicorn(self, app: str, **environment: object) -> AsyncIterator[Running]:
        """As everybody starts it."""
        port = free_port()
        command = ("uvicorn", app, "--port", str(port))
        async with running(*command, folder=self._new_folder(), port=port, environment=environment) as server:
            await server.answering()
            yield server

    @asynccontextmanager
    async def sink(self) -> AsyncIterator[tuple[int, Counter]]:
        """Its port, and the mails that it took."""
        folder, port = self._new_folder(), free_port()
        folder.mkdir()
        counter = Counter(folder / "count")
        async with running("bench.sink", port, folder / "count", folder=folder, port=port) as relay:
            await relay.accepting()
            yield port, counter

    @asynccontextmanager
    async def hanging_relay(self) -> AsyncIterator[int]:
        port = free_port()
        async with running("bench.sink", port, HANG, folder=self._new_folder(), port=port) as relay:
            await relay.accepting()
            yield port

    @asynccontextmanager
    async def pool(self, smtp_port: int) -> AsyncIterator[None]:
        async with running("bench.pool", smtp_port, folder=self._new_folder()):
            yield

    async def warm_up(self, server: Running) -> Answers:
        return await processes.load(server.port, seconds=WARM_UP, folder=self._folder)

    async def load(self, server: Running) -> Answers:
        return await processes.load(server.port, seconds=self.seconds, folder=self._folder)

    def _new_folder(self) -> Path:
        return self._folder / uuid4().hex
