"""The connection to one client, in the place of asyncio's transport."""

import asyncio
import socket
import struct
from collections.abc import Callable

LINGER_SECONDS = 2.0  # a client that is still sending gets these to read the last answer
STALLED_SECONDS = 30.0  # a client whose buffers are full may read nothing for so long
MAX_UNSENT = 64 * 1024  # bytes that may wait for the end of a turn of the loop

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class ClientTransport:
    """Closes politely: closing at once while the client is still sending would reset the connection, and
    the client could lose the answer. Cuts a client that does not read.

    What is written in one turn of the loop leaves together. uvicorn writes the head and the body of an answer
    one after the other, and a second packet for each answer took up to a tenth of a signup's time.
    """

    def __init__(self, transport: asyncio.Transport, *, is_unread: Callable[[], bool]) -> None:
        self.get_extra_info = transport.get_extra_info
        self.closing = False
        self._transport = transport
        self._is_unread = is_unread
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self._watch: asyncio.TimerHandle | None = None

    def write(self, data: bytes) -> None:
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent += data
        if len(self._unsent) > MAX_UNSENT:
            self._send()  # which tells the app to wait if the client does not read

    def is_closing(self) -> bool:
        return self.closing or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        self.closing = True
        self._send()
        if not self._is_unread():
            self._transport.close()
            self.watch_reading()
            return
        self._transport.write_eof()
        self._transport.resume_reading()
        self._loop.call_later(LINGER_SECONDS, self._transport.abort)

    def watch_reading(self) -> None:
        """Until everything has been written. Limits the time without any progress, not the speed."""
        left = self._transport.get_write_buffer_size()
        if left and self._watch is None:
            self._watch = self._loop.call_later(STALLED_SECONDS, self._cut_if_stalled, left)

    def stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, bytearray()
        if unsent and not self._transport.is_closing():  # the client may have left meanwhile
            self._transport.write(unsent)

    def _cut_if_stalled(self, before: int) -> None:
        self._watch = None
        if self._transport.get_write_buffer_size() < before:
            self.watch_reading()
            return
        # With a reset, or the kernel would keep megabytes for each connection and go on sending.
        self.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._transport.abort()
