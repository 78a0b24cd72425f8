"""What is said to a relay for each message, on a connection that aiosmtplib has opened."""

import asyncio
import contextlib
import re
from collections import deque
from typing import cast

from aiosmtplib import (
    SMTP,
    SMTPException,
    SMTPReadTimeoutError,
    SMTPResponseException,
    SMTPServerDisconnected,
)
from aiosmtplib.response import SMTPResponse as Reply

A_LINE = re.compile(rb"\d{3}")
MAX_REPLY = 64 * 1024  # bytes
QUIT_TIMEOUT = 2.0  # s
MALFORMED = -1  # in place of a code, as aiosmtplib has it


class SmtpSession(asyncio.Protocol):
    """Takes the connection over, because aiosmtplib says one thing at a time: where the relay takes several
    at once, a mail needs two round trips instead of four, and the event loop half the work.

    What goes wrong is told by aiosmtplib's exceptions; the connection is of no use after any of them.
    """

    def __init__(self, opened: SMTP) -> None:
        """Raises SMTPServerDisconnected."""
        if opened.transport is None:
            raise SMTPServerDisconnected("Connection lost")
        self._pipelines = opened.supports_extension("pipelining")
        self._transport = cast(asyncio.Transport, opened.transport)
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._lines: list[bytes] = []  # of a reply that goes on
        self._size = 0  # bytes since the last reply that was whole
        self._replies: deque[Reply] = deque()
        self._sent_along = 0  # commands that have not been asked yet
        self._expected = 0  # replies that have not come
        self._waiter: asyncio.Future[None] | None = None
        self._end: SMTPException | None = None
        self._transport.set_protocol(self)

    async def command(self, command: bytes, *following: bytes, within: float) -> Reply:
        """The answer to one command. Those that will be asked next, in their order, are sent along with it
        if the relay takes that (RFC 2920). Raises SMTPException."""
        if self._sent_along:
            self._sent_along -= 1
        else:
            along = following if self._pipelines else ()
            self._send(b"".join([command, *along]), replies=1 + len(along))
            self._sent_along = len(along)
        return await self.read_reply(within=within)

    def send_data(self, content: bytes) -> None:
        """For `read_reply` to hear the answer. Raises SMTPServerDisconnected, and nothing was sent then."""
        self._send(content, replies=1)

    async def read_reply(self, *, within: float) -> Reply:
        if not self._replies:
            await self._wait(within)
        return self._replies.popleft()

    async def quit(self) -> None:
        with contextlib.suppress(SMTPException):
            await self.command(b"QUIT\r\n", within=QUIT_TIMEOUT)
        self.close()

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > MAX_REPLY:
            self._fail(SMTPResponseException(MALFORMED, "Response too long"))
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._read_line(line)

    def connection_lost(self, exc: Exception | None) -> None:
        lost = SMTPServerDisconnected("Connection lost")
        lost.__cause__ = exc
        self._fail(lost)

    def _send(self, data: bytes, *, replies: int) -> None:
        if self._end or self._transport.is_closing():
            raise self._end or SMTPServerDisconnected("Connection lost")
        self._expected += replies
        self._transport.write(data)

    def _read_line(self, line: bytes) -> None:
        if self._end:
            return
        if not A_LINE.match(line):
            text = line.decode("utf-8", "ignore")
            self._fail(SMTPResponseException(MALFORMED, f"Malformed SMTP response line: {text}"))
        elif not self._expected:  # as a rule it is about to hang up
            self._fail(SMTPServerDisconnected("The relay spoke out of turn"))
        else:
            self._lines.append(line[4:].strip())
            if line[3:4] != b"-":
                self._finish_reply(int(line[:3]))

    def _finish_reply(self, code: int) -> None:
        self._replies.append(Reply(code, b"\n".join(self._lines).decode("utf-8", "surrogateescape")))
        self._lines.clear()
        self._size = 0
        self._expected -= 1
        self._wake()

    async def _wait(self, seconds: float) -> None:
        if self._end:
            raise self._end
        self._waiter = self._loop.create_future()
        timer = self._loop.call_later(seconds, self._time_out)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None
        if self._end and not self._replies:
            raise self._end

    def _time_out(self) -> None:
        self._fail(SMTPReadTimeoutError("Timed out waiting for server response"))

    def _fail(self, why: SMTPException) -> None:
        self._end = self._end or why
        self._transport.close()
        self._wake()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)
