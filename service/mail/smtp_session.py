"""The SMTP commands for each message, on a connection that aiosmtplib has opened."""

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
    SMTPStatus,
)
from aiosmtplib.response import SMTPResponse as Reply

from service.mail.replies import CLOSING, is_positive

REPLY_LINE = re.compile(rb"\d{3}")
MAX_REPLY = 64 * 1024  # bytes
QUIT_TIMEOUT = 2.0  # s
MALFORMED = -1  # in place of a code, as aiosmtplib has it


class SmtpSession(asyncio.Protocol):
    """Takes the connection over from aiosmtplib, which sends one command at a time. If the relay accepts
    several at once, a mail takes two round trips instead of four, and half the work in the event loop.

    Raises aiosmtplib's exceptions. The connection is of no use after any of them.
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
        self._pipelined = 0  # commands that were sent before `command` was called for them
        self._awaited = 0  # replies that have not come
        self._waiter: asyncio.Future[None] | None = None
        self._failure: SMTPException | None = None
        self._is_closing = False
        self.errors = 0  # replies of 4xx and 5xx since the last message that was taken
        self._transport.set_protocol(self)

    async def command(self, command: bytes, *following: bytes, within: float) -> Reply:
        """The reply to one command. The commands that will follow, in their order, are sent with it if the
        relay takes several at once (RFC 2920). Raises SMTPException."""
        if self._pipelined:
            self._pipelined -= 1
        else:
            pipelined = following if self._pipelines else ()
            self._send(b"".join([command, *pipelined]), replies=1 + len(pipelined))
            self._pipelined = len(pipelined)
        return await self.read_reply(within=within)

    def send_data(self, content: bytes) -> None:
        """`read_reply` returns the reply. Raises SMTPServerDisconnected if nothing was sent."""
        self._send(content, replies=1)

    async def read_reply(self, *, within: float) -> Reply:
        if not self._replies:
            await self._wait(within)
        return self._replies.popleft()

    @property
    def is_lost(self) -> bool:
        return self._failure is not None or self._transport.is_closing() or self._is_closing

    async def reset(self, *, within: float) -> None:
        """Ends the transaction after a refusal. Raises SMTPException."""
        await self._read_pipelined(within)
        reply = await self.command(b"RSET\r\n", within=within)
        if not is_positive(reply.code):
            raise SMTPResponseException(reply.code, reply.message)

    async def quit(self) -> None:
        try:
            with contextlib.suppress(SMTPException):
                await self._read_pipelined(QUIT_TIMEOUT)
                await self.command(b"QUIT\r\n", within=QUIT_TIMEOUT)
        finally:
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

    async def _read_pipelined(self, within: float) -> None:
        while self._pipelined:
            self._pipelined -= 1
            if (await self.read_reply(within=within)).code == SMTPStatus.start_input:
                raise SMTPServerDisconnected("The relay waits for content without a recipient")
            self.errors += 1

    def _send(self, data: bytes, *, replies: int) -> None:
        if self._failure or self._transport.is_closing():
            raise self._failure or SMTPServerDisconnected("Connection lost")
        self._awaited += replies
        self._transport.write(data)

    def _read_line(self, line: bytes) -> None:
        if self._failure:
            return
        if not REPLY_LINE.match(line):
            text = line.decode("utf-8", "ignore")
            self._fail(SMTPResponseException(MALFORMED, f"Malformed SMTP response line: {text}"))
        elif not self._awaited:  # as a rule it is about to hang up
            self._fail(SMTPServerDisconnected("The relay sent a reply to nothing"))
        else:
            self._lines.append(line[4:].strip())
            if line[3:4] != b"-":
                self._finish_reply(int(line[:3]))

    def _finish_reply(self, code: int) -> None:
        self._replies.append(Reply(code, b"\n".join(self._lines).decode("utf-8", "replace")))
        self._is_closing = code == CLOSING
        self._lines.clear()
        self._size = 0
        self._awaited -= 1
        self._wake()

    async def _wait(self, seconds: float) -> None:
        if self._failure:
            raise self._failure
        self._waiter = self._loop.create_future()
        timer = self._loop.call_later(seconds, self._time_out)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None
        if self._failure and not self._replies:
            raise self._failure

    def _time_out(self) -> None:
        self._fail(SMTPReadTimeoutError("Timed out waiting for server response"))

    def _fail(self, why: SMTPException) -> None:
        self._failure = self._failure or why
        self._transport.close()
        self._wake()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)
