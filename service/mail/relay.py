"""The SMTP server that messages are handed to, over connections that are kept for the next message."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from aiosmtplib import (
    SMTPDataError,
    SMTPException,
    SMTPReadTimeoutError,
    SMTPRecipientRefused,
    SMTPResponseException,
    SMTPSenderRefused,
    SMTPStatus,
)

from service.mail.connection import Connector, RelayBusy, RelayTrouble
from service.mail.message import Message
from service.mail.replies import classify, describe, is_positive
from service.mail.smtp_session import SmtpSession
from service.outbox.channel import ChannelFull, Fault, LaterRefusal, Refusal, SendCancelled
from service.settings import Settings

# The first timeouts are short, to notice soon that a relay hangs. A timeout that was too short doubles, up to
# what RFC 5321, section 4.5.3.2 grants, so that a slow relay can be used too.
CONNECT_TIMEOUT = 10.0  # s, for name, connection, greeting, TLS, login and MAIL together
COMMAND_TIMEOUT = 30.0  # for RCPT and DATA, each
MAX_TIMEOUT = 300.0
PATIENCE = 60.0  # in place of both, where a person waits for the result of a single try
FINAL_DOT_TIMEOUT = 300.0  # RFC 5321, section 4.5.3.2.6 asks for 600; the whole attempt must stay bounded
RESET_TIMEOUT = 5.0
IDLE_TIMEOUT = 30.0  # then a connection is closed rather than used again
MAX_ERRORS = 7  # on one connection, after the last message that was taken: Postfix slows down after ten

DATA = b"DATA\r\n"


class _Stale(Exception):
    """A kept connection no longer works. No message was sent on it."""


class Relay:
    """A pool of connections, each used for one message at a time.

    How many are in use at once is for the caller to bound. `patience` is for callers that try only once.
    """

    def __init__(self, settings: Settings, *, patience: float | None = None) -> None:
        self._sender = settings.envelope_sender
        self._connector = Connector(settings)
        self._idle: deque[tuple[SmtpSession, float]] = deque()
        self._in_use = 0
        self._first_connect_timeout = self._connect_timeout = patience or CONNECT_TIMEOUT
        self._command_timeout = patience or COMMAND_TIMEOUT

    async def send(self, message: Message, *, may_send: Callable[[], bool] = lambda: True) -> str:
        """The relay's reply after taking the message. Asks `may_send` right before the content.

        Raises FinalRefusal, LaterRefusal, RelayTrouble, ChannelFull or SendCancelled.
        """
        self._in_use += 1
        try:
            return await self._send(message, may_send)
        finally:
            self._in_use -= 1

    async def probe(self) -> None:
        """Connects, logs in, and asks to mail the sender's own address, without sending anything. A refusal
        that is about this address alone is no trouble. Raises RelayTrouble."""
        session = await self._open(self._sender)
        try:
            reply = await session.command(_rcpt_command(self._sender), within=self._command_timeout)
        except SMTPException as exc:
            raise RelayTrouble(describe(exc)) from exc
        await session.quit()
        if not is_positive(reply.code):
            refused = SMTPRecipientRefused(reply.code, reply.message, self._sender)
            found = classify(refused, at_rcpt=True)
            if not isinstance(found, Refusal) or found.fault is Fault.CHANNEL:
                raise RelayTrouble(found.reason) from refused

    async def close_stale(self) -> None:
        """Says QUIT where nothing has been sent for long, before the relay hangs up."""
        stale = []
        while self._idle and time.monotonic() - self._idle[0][1] > IDLE_TIMEOUT:
            stale.append(self._idle.popleft()[0])
        await asyncio.gather(*(session.quit() for session in stale))

    async def close(self) -> None:
        idle, self._idle = self._idle, deque()
        await asyncio.gather(*(session.quit() for session, _ in idle))

    async def _send(self, message: Message, may_send: Callable[[], bool]) -> str:
        while self._idle:
            session, _ = self._idle.pop()
            try:
                return await self._send_on(session, message, may_send, is_reused=True)
            except _Stale as stale:
                session.close()
                if stale.__cause__ is not None:  # this recipient may be why, and would cost the next one too
                    break
        try:
            session = await self._open(message.sender)
        except RelayBusy as exc:
            # Those that are kept for the next message count at the relay too.
            if others := self._in_use - 1 + len(self._idle):
                raise ChannelFull(exc.reason, connections=others) from exc
            raise
        return await self._send_on(session, message, may_send, is_reused=False)

    async def _send_on(
        self, session: SmtpSession, message: Message, may_send: Callable[[], bool], *, is_reused: bool
    ) -> str:
        try:
            if is_reused:
                await self._reuse(session, message)
            try:
                await self._send_envelope(session, message.recipient)
            except Refusal as exc:
                if is_reused and session.is_lost and not isinstance(exc.__cause__, SMTPReadTimeoutError):
                    raise _Stale from exc
                raise
            if not may_send():
                raise SendCancelled
            reply = await _send_content(session, message.content)
        except Refusal:
            await self._reset(session)
            raise
        except _Stale:
            raise
        except BaseException:
            session.close()
            raise
        session.errors = 0
        self._keep(session)
        return reply

    async def _open(self, sender: str) -> SmtpSession:
        """A new session, in which the relay has accepted MAIL. Raises RelayTrouble."""
        within, begun = self._connect_timeout, time.monotonic()
        try:
            async with asyncio.timeout(within):
                connection = await self._connector.open(within=within)
                try:
                    session = SmtpSession(connection)
                    await _say_mail(session, sender, within=within)
                except BaseException:
                    connection.close()
                    raise
        except (TimeoutError, SMTPReadTimeoutError) as exc:  # whose text does not name the relay
            self._connect_timeout = _longer_than(within, self._connect_timeout)
            raise RelayTrouble(f"{self._connector.address} did not answer within {within:g} s") from exc
        except (SMTPException, OSError) as exc:
            raise RelayTrouble(describe(exc)) from exc
        if time.monotonic() - begun < self._first_connect_timeout / 2:  # fast again
            self._connect_timeout = self._first_connect_timeout
        return session

    async def _reuse(self, session: SmtpSession, message: Message) -> None:
        """Raises _Stale."""
        mail, rcpt = _mail_command(message.sender), _rcpt_command(message.recipient)
        try:
            reply = await session.command(mail, rcpt, DATA, within=CONNECT_TIMEOUT)
        except SMTPException:
            raise _Stale from None
        if reply.code != SMTPStatus.completed:
            raise _Stale

    async def _send_envelope(self, session: SmtpSession, recipient: str) -> None:
        """RCPT and DATA. The relay then waits for the content. Raises Refusal or ChannelTrouble."""
        within = self._command_timeout
        rcpt = _rcpt_command(recipient)
        try:
            reply = await session.command(rcpt, DATA, within=within)
            if not is_positive(reply.code):  # 251 and 252 accept the recipient too
                raise SMTPRecipientRefused(reply.code, reply.message, recipient)
            reply = await session.command(DATA, within=within)
            if reply.code != SMTPStatus.start_input:
                raise SMTPDataError(reply.code, reply.message)
        except SMTPResponseException as exc:
            raise classify(exc, at_rcpt=isinstance(exc, SMTPRecipientRefused)) from exc
        except SMTPException as exc:  # the recipient may be why: others are tried before the relay is blamed
            if isinstance(exc, SMTPReadTimeoutError):
                self._command_timeout = _longer_than(within, self._command_timeout)
            raise LaterRefusal(describe(exc), fault=Fault.CHANNEL) from exc

    async def _reset(self, session: SmtpSession) -> None:
        """Keeps the connection after a refusal, unless it has had too many."""
        session.errors += 1
        if session.errors >= MAX_ERRORS:
            await session.quit()
            return
        try:
            await session.reset(within=RESET_TIMEOUT)
        except SMTPException:
            session.close()
        except BaseException:  # cancelled
            session.close()
            raise
        else:
            self._keep(session)

    def _keep(self, session: SmtpSession) -> None:
        self._idle.append((session, time.monotonic()))


def _longer_than(too_short: float, timeout: float) -> float:
    """The next timeout. Those that run out together double it once."""
    return max(timeout, min(too_short * 2, MAX_TIMEOUT))


def _mail_command(sender: str) -> bytes:
    return b"MAIL FROM:<%b>\r\n" % sender.encode("ascii")


def _rcpt_command(recipient: str) -> bytes:
    return b"RCPT TO:<%b>\r\n" % recipient.encode("ascii")


async def _say_mail(session: SmtpSession, sender: str, *, within: float) -> None:
    """Raises SMTPException."""
    reply = await session.command(_mail_command(sender), within=within)
    if reply.code != SMTPStatus.completed:
        await session.quit()
        raise SMTPSenderRefused(reply.code, reply.message, sender)


async def _send_content(session: SmtpSession, content: bytes) -> str:
    try:
        session.send_data(_stuff_dots(content) + b".\r\n")
    except SMTPException as exc:
        raise LaterRefusal(describe(exc), fault=Fault.CHANNEL) from exc
    try:
        reply = await session.read_reply(within=FINAL_DOT_TIMEOUT)
    except SMTPException as exc:
        raise LaterRefusal(describe(exc), fault=Fault.CHANNEL, unknown=True) from exc
    if not is_positive(reply.code):
        refusal = SMTPDataError(reply.code, reply.message)
        raise classify(refusal, at_rcpt=False) from refusal
    return f"{reply.code} {reply.message}"


def _stuff_dots(content: bytes) -> bytes:
    """RFC 5321, section 4.5.2. No message begins with a dot: its headers come first."""
    return content.replace(b"\n.", b"\n..")
