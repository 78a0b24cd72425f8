"""An SMTP server that accepts and counts every mail, and keeps none.

    python -m bench.smtp_sink PORT COUNT_FILE [REPLY_AFTER]

The count is eight bytes in a file, so that reading it costs the sink nothing. REPLY_AFTER is in seconds. With
`hang` in place of the file it accepts connections and never replies.
"""

import asyncio
import mmap
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import uvloop

HANG = "hang"
COUNT = struct.Struct("=Q")
END = b"\r\n.\r\n"
BYE = b"221 bye\r\n"
REPLIES = {
    b"EHLO": b"250-sink\r\n250 PIPELINING\r\n",
    b"HELO": b"250 sink\r\n",
    b"MAIL": b"250 ok\r\n",
    b"RCPT": b"250 ok\r\n",
    b"DATA": b"354 go on\r\n",
    b"RSET": b"250 ok\r\n",
    b"NOOP": b"250 ok\r\n",
    b"QUIT": BYE,
}


class Counter:
    """How many mails were accepted. All processes that open the file share the count."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(COUNT.pack(0))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), COUNT.size)

    @property
    def value(self) -> int:
        found: int = COUNT.unpack(self._shared[:])[0]
        return found

    def add(self) -> None:
        self._shared[:] = COUNT.pack(self.value + 1)


class Session(asyncio.Protocol):
    def __init__(self, counter: Counter, *, reply_after: float) -> None:
        self._counter = counter
        self._reply_after = reply_after
        self._received = b""
        self._in_data = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        self._received += data
        replies = b""
        while reply := self._take():
            replies += reply
        if self._reply_after:
            asyncio.get_running_loop().call_later(self._reply_after, self._reply, replies)
        else:
            self._reply(replies)

    def _reply(self, replies: bytes) -> None:
        self._transport.write(replies)
        if replies.endswith(BYE):
            self._transport.close()

    def _take(self) -> bytes | None:
        """The reply to the next command or mail, if it has been received completely."""
        end = END if self._in_data else b"\r\n"
        taken, found, rest = self._received.partition(end)
        if not found:
            return None
        self._received = rest
        if self._in_data:
            self._in_data = False
            self._counter.add()
            return b"250 taken\r\n"
        verb = taken[:4].upper()
        self._in_data = verb == b"DATA"
        return REPLIES.get(verb, b"502 unknown\r\n")


async def serve(port: int, session: Callable[[], asyncio.Protocol]) -> None:
    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    port, file, *more = sys.argv[1:]
    if file == HANG:
        uvloop.run(serve(int(port), asyncio.Protocol))
    else:
        counter = Counter(Path(file))
        reply_after = float(more[0]) if more else 0.0
        uvloop.run(serve(int(port), lambda: Session(counter, reply_after=reply_after)))
