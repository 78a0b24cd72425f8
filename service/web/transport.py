"""The connection to one client, as uvicorn's protocol sees it."""

import asyncio
import socket
import struct
from collections.abc import Callable

LINGER_SECONDS = 2.0  # that a client has to read our last words while it still sends
STALLED_SECONDS = 30.0  # without any reading by a client that has more to read than buffers hold

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class ClientTransport:
    """A transport that closes politely: at once under a client that still sends, it would be a reset,
    which can take our answer along. And it cuts whoever does not read."""

    def __init__(self, transport: asyncio.Transport, *, is_unread: Callable[[], bool]) -> None:
        self.write = transport.write
        self.get_extra_info = transport.get_extra_info
        self.closing = False
        self._transport = transport
        self._is_unread = is_unread
        self._loop = asyncio.get_running_loop()
        self._watch: asyncio.TimerHandle | None = None

    def is_closing(self) -> bool:
        return self.closing or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        self.closing = True
        if not self._is_unread():
            self._transport.close()
            self.watch_reading()
            return
        self._transport.write_eof()
        self._transport.resume_reading()
        self._loop.call_later(LINGER_SECONDS, self._transport.abort)

    def watch_reading(self) -> None:
        """Until there is nothing left to read. It is the time without any progress that is bounded, not
        the speed."""
        left = self._transport.get_write_buffer_size()
        if left and self._watch is None:
            self._watch = self._loop.call_later(STALLED_SECONDS, self._cut_if_stalled, left)

    def stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _cut_if_stalled(self, before: int) -> None:
        self._watch = None
        if self._transport.get_write_buffer_size() < before:
            self.watch_reading()
            return
        # With a reset, or the kernel would go on offering what it has: megabytes for each connection.
        self.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._transport.abort()
