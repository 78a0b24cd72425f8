"""A receiver of events that answers what a test asks for, and verifies and records what it was sent."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from standardwebhooks import Webhook, WebhookVerificationError

from tests.support.eventually import eventually

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HANG, DROP = "hang", "drop"  # as answers: never answers; closes the connection


@dataclass(frozen=True)
class Received:
    id: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event


Answer = str | int | tuple[int, dict[str, str], bytes]


@dataclass
class Receiver:
    """Takes every event, unless `answer` says otherwise: a status, with headers and body if they matter, or
    HANG or DROP."""

    answer: Answer | Callable[[Received], Answer] = 200
    delay: float = 0.0  # s
    secret: str = SECRET
    requests: list[Received] = field(default_factory=list)
    taken: list[Received] = field(default_factory=list)
    port: int = 0
    connections: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @classmethod
    async def started(cls) -> Self:
        receiver = cls()
        await receiver.start()
        return receiver

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        await eventually(lambda: not self._writers)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def counts(self) -> Counter[str]:
        """How often each event was taken, by its id."""
        return Counter(received.id for received in self.taken)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The content of those taken, each once."""
        found = {received.id: received.event for received in self.taken}
        return [event for event in found.values() if event["type"] == kind]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connections += 1
        try:
            while await self._answer_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        received = await _read(reader)
        self.requests.append(received)
        try:
            await asyncio.sleep(self.delay)
            answer = self.answer(received) if callable(self.answer) else self.answer
            if answer == HANG:
                await reader.read()
            if isinstance(answer, str):
                return False
            status, headers, body = (answer, {}, b"") if isinstance(answer, int) else answer
            if 200 <= status < 300:
                Webhook(self.secret).verify(received.body, received.headers)
                self.taken.append(received)
        except WebhookVerificationError as exc:
            status, headers, body = 401, {}, str(exc).encode()
        lines = [f"HTTP/1.1 {status} x", *(f"{name}: {value}" for name, value in headers.items())]
        if "Content-Length" not in headers:
            lines.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()
        return True


async def _read(reader: asyncio.StreamReader) -> Received:
    _, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").splitlines()
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
    body = await reader.readexactly(int(headers["content-length"]))
    return Received(headers["webhook-id"], headers, body)
