"""A load generator that is not the bottleneck.

Each client sends its next signup when the previous one is answered.

    python -m bench.load PORT SECONDS [CLIENTS]

Prints an Answers as JSON. Times are of the monotonic clock, which all processes of the machine share.
"""

import asyncio
import gc
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import cast
from uuid import uuid4

import uvloop

CLIENTS = 64
LAST_RESPONSE_TIMEOUT = 120.0  # s to wait for the last responses
CREATED = "201"

BODY = b'{"email":"%s%09d@example.com","name":"Ada"}'
HEAD = (
    b"POST /signup HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n"
)


@dataclass
class Answers:
    began: float = 0.0
    ended: float = 0.0  # when the last response came
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)  # from a request to the last byte of its 201
    broken: int = 0  # connections that ended before the response

    @property
    def created(self) -> int:
        return self.statuses[CREATED]


def prepare_request() -> bytes:
    """A request in which `%09d` stands for its number."""
    token = uuid4().hex[:8].encode()  # so that no two runs share an address
    size = len(BODY % (token, 0))
    return HEAD % size + BODY.replace(b"%s", token)


class Load:
    def __init__(self, port: int) -> None:
        self._request = prepare_request()
        self._port = port
        self._number = 0
        self._over = False
        self._open = 0
        self._idle = asyncio.Event()
        self._reconnections: set[asyncio.Task[None]] = set()
        self.answers = Answers()

    async def run(self, *, clients: int, seconds: float) -> Answers:
        self.answers.began = time.monotonic()
        await asyncio.gather(*(self.connect() for _ in range(clients)))
        await asyncio.sleep(seconds)
        self._over = True
        async with asyncio.timeout(LAST_RESPONSE_TIMEOUT):
            await self._idle.wait()
        return self.answers

    async def connect(self) -> None:
        self._open += 1
        await asyncio.get_running_loop().create_connection(lambda: Client(self), "127.0.0.1", self._port)

    def next_request(self) -> bytes | None:
        """None when the time is over."""
        if self._over:
            return None
        self._number += 1
        return self._request % self._number

    def record_answer(self, status: str, *, asked: float) -> None:
        self.answers.ended = now = time.monotonic()
        self.answers.statuses[status] += 1
        if status == CREATED:
            self.answers.seconds.append(now - asked)

    def record_break(self) -> None:
        self.answers.broken += 1

    def replace(self) -> None:
        self._open -= 1
        if not self._over:
            reconnection = asyncio.ensure_future(self.connect())
            self._reconnections.add(reconnection)
            reconnection.add_done_callback(self._reconnections.discard)
        elif not self._open:
            self._idle.set()


class Client(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._received = b""
        self._asked: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < _content_length(head):
            return
        if self._asked is not None:
            self._load.record_answer(head[9:12].decode(), asked=self._asked)
        self._received, self._asked = b"", None
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._asked is not None:
            self._load.record_break()
        self._load.replace()

    def _ask(self) -> None:
        if self._transport.is_closing():
            return
        if request := self._load.next_request():
            self._asked = time.monotonic()
            self._transport.write(request)
        else:
            self._transport.close()


def _content_length(head: bytes) -> int:
    return int(head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])


async def main(port: int, seconds: float, clients: int = CLIENTS) -> None:
    gc.disable()  # its stalls would be taken for the server's
    answers = await Load(port).run(clients=clients, seconds=seconds)
    json.dump(vars(answers), sys.stdout)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2]), *map(int, sys.argv[3:])))
