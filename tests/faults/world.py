"""Two processes, a relay that does as it is told, a database that can be hurt, and clients."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import httpx
from sqlalchemy import ColumnElement, Connection, func, select

from service.audit.spool import file_size
from service.database import migrations
from service.database.email_status import EmailStatus
from service.database.engine import Database
from service.database.models import OUTBOX
from tests.faults.checker import Answers, Figures, figures
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.processes import Process
from tests.support.receiver import SECRET, Receiver
from tests.support.relay import ScriptedRelay

TLS = ssl.create_default_context()  # takes a client longer to make than to use


def http_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=15, verify=TLS)


class World:
    """Built by a fixture. `serve` and `work` start processes; `load` keeps clients signing up."""

    def __init__(
        self,
        *,
        database_url: str,
        database: Database,
        relay: ScriptedRelay,
        folder: Path,
        constants: Mapping[str, object],
    ) -> None:
        self.database_url = database_url  # as the processes see it; may lead through a proxy
        self.database = database  # as the checker sees it; never through the proxy
        self.relay = relay
        self.folder = folder
        self.answers = Answers()
        self.receiver: Receiver | None = None  # with one, processes hand each signup on to it
        self.allowed_duplicates = 0
        self.constants = dict(constants)  # of the processes that are started from now on; see `fork`
        self.processes: list[Process] = []
        self._run = uuid4().hex[:8]
        self._number = 0

    async def serve(self, **environment: object) -> Process:
        process = await self._start("serve", **environment)
        return await process.ready()

    async def work(self, **environment: object) -> Process:
        return await self._start("worker", **environment)

    async def signup(
        self,
        service: Process,
        *,
        name: str | None = None,
        domain: str = "example.com",
        key: str | None = None,
    ) -> int:
        """One signup, noted; returns its status, or 0 if the connection broke."""
        async with http_client() as client:
            return await self._signup(client, service, name, key, domain)

    async def signups(self, service: Process, count: int, *, at_once: int = 8) -> None:
        """So many signups, a few at a time."""
        numbers = iter(range(count))

        async def client() -> None:
            async with http_client() as connection:
                for _ in numbers:
                    await self._signup(connection, service)

        await asyncio.gather(*(client() for _ in range(at_once)))

    async def click(self, service: Process, address: str, token: str) -> int:
        """Uses a confirmation link, noted; returns the status, or 0 if the connection broke."""
        async with http_client() as client:
            try:
                answer = await client.post(f"{service.url}/confirm/{token}")
            except httpx.TransportError:
                self.answers.broken += 1
                return 0
        self.answers.statuses[answer.status_code] += 1
        self.answers.request_ids.add(answer.headers["X-Request-ID"])
        assert answer.status_code != 503 or answer.headers["Retry-After"]
        if answer.status_code == 200:
            self.answers.clicked[address] = answer.json()["id"]
        return answer.status_code

    @asynccontextmanager
    async def load(self, *services: Process, clients: int = 8) -> AsyncIterator[None]:
        """Clients that sign up as fast as they are answered, spread over the services, until the end."""
        over = asyncio.Event()

        async def client(number: int) -> None:
            service = services[number % len(services)]
            async with http_client() as connection:
                while not over.is_set():
                    if not await self._signup(connection, service):
                        await asyncio.sleep(0.05)

        running = [asyncio.create_task(client(number)) for number in range(clients)]
        try:
            yield
        finally:
            over.set()
            await asyncio.gather(*running)

    async def kill(self, process: Process) -> None:
        """SIGKILL. What it had at the relay at that moment may come twice."""
        await process.kill()
        await asyncio.sleep(0.1)  # what it wrote last still reaches the relay
        self.allowed_duplicates += await self.in_flight()

    async def in_flight(self) -> int:
        """Mails between the final dot and our record of the answer: seen by the relay, not yet by us."""
        at_the_relay = {
            UUID(envelope.message_id[1:].partition("@")[0])
            for envelope in [*self.relay.accepted, *self.relay.unanswered]
        }
        waiting = await rows(self.database, "SELECT id FROM outbox WHERE status = 'pending'")
        return len(at_the_relay & {UUID(str(row["id"])) for row in waiting})

    async def a_minute_passes(self) -> None:
        """For the leases of dead processes; only when no process lives that holds one."""
        assert not any(process.alive for process in self.processes)
        await self.end_leases()

    async def end_leases(self) -> None:
        """Whatever is pending is due, and may be claimed at once."""
        async with self.database.transaction() as connection:
            await connection.exec_driver_sql("UPDATE outbox SET due_at = created_at WHERE status = 'pending'")

    async def migrate(self, *statements: str) -> None:
        """As a migration does, with its lock and its limits."""

        def execute(connection: Connection) -> None:
            for statement in statements:
                connection.exec_driver_sql(statement)

        await migrations.run_locked(self.database, execute)

    async def settled(self, *, within: float = 90) -> None:
        """Nothing waits any more, in the outbox or in a spool."""

        async def quiet() -> bool:
            return not await self._pending() and not self._spooled()

        await eventually(quiet, within=within)

    async def all_claimed(self) -> None:
        """Nothing is due: what is pending has, or had, a holder."""

        async def none_due() -> bool:
            return not await self._pending(OUTBOX.c.due_at <= self.database.clock())

        await eventually(none_due, within=30)

    async def figures(self) -> Figures:
        return await figures(
            self.answers,
            self.relay,
            self.database,
            receiver=self.receiver,
            allowed_duplicates=self.allowed_duplicates,
        )

    async def end(self) -> None:
        for process in self.processes:
            await process.stop()

    async def _signup(
        self,
        client: httpx.AsyncClient,
        service: Process,
        name: str | None = None,
        key: str | None = None,
        domain: str = "example.com",
    ) -> int:
        self._number += 1
        address = f"{name or f'user{self._number}-{self._run}'}@{domain}"
        body = {"email": address, "name": "Ada"}
        begun = time.perf_counter()
        try:
            answer = await client.post(
                f"{service.url}/signup", json=body, headers={"Idempotency-Key": key} if key else None
            )
        except httpx.TransportError:
            self.answers.broken += 1
            return 0
        self.answers.seconds.append(time.perf_counter() - begun)
        self.answers.statuses[answer.status_code] += 1
        self.answers.request_ids.add(answer.headers["X-Request-ID"])
        assert answer.status_code != 503 or answer.headers["Retry-After"]
        if answer.status_code == 201:
            self.answers.confirmed[address] = answer.json()["id"]
        return answer.status_code

    async def _pending(self, *conditions: ColumnElement[bool]) -> int:
        waiting = select(func.count()).where(OUTBOX.c.status == EmailStatus.PENDING, *conditions)
        async with self.database.read_only() as connection:
            count: int = (await connection.execute(waiting)).scalar_one()
            return count

    def _spooled(self) -> int:
        return sum(file_size(path) for path in self.folder.glob("**/*.spool"))

    async def _start(self, command: str, **environment: object) -> Process:
        defaults: dict[str, object] = {
            "DATABASE_URL": self.database_url,
            "DATA_DIR": self.folder / "data",
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": self.relay.port,
            "SIGNUP_RATE_LIMIT": "",  # all that signs up here comes from one address
        }
        if self.receiver:
            defaults |= {"WEBHOOK_URL": self.receiver.url, "WEBHOOK_SECRET": SECRET}
        files, stderr = environment.pop("files", None), environment.pop("stderr", None)
        assert files is None or isinstance(files, int)
        assert stderr is None or isinstance(stderr, int)
        process = Process(
            command,
            folder=self.folder / f"process-{len(self.processes)}",
            files=files,
            stderr=stderr,
            constants=self.constants,
            environment=defaults | environment,
        )
        self.processes.append(process)
        return await process.start()


# Asserts that something was promised, and all of it kept: the world, the fault's number, and what was done.
Verdict = Callable[[World, str, str], Awaitable[Figures]]
