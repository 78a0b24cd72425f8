"""The SMTP server we hand messages to, and what its answers mean for them."""

import asyncio
import contextlib
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from aiosmtplib import (
    SMTP,
    SMTPDataError,
    SMTPException,
    SMTPRecipientRefused,
    SMTPResponseException,
    SMTPStatus,
)

from service.mail.message import Message
from service.mail.smtp_session import SmtpSession
from service.settings import Security, Settings

CONNECT_TIMEOUT = 10.0  # s, for name, connection, greeting, TLS and login together
COMMAND_TIMEOUT = 30.0
FINAL_DOT_TIMEOUT = 300.0  # RFC 5321, section 4.5.3.2.6 asks for 600; the whole attempt must stay bounded
IDLE_TIMEOUT = 30.0  # then a connection is closed rather than used again

DATA = b"DATA\r\n"
NOT_ABOUT_THIS_MESSAGE = 421, 530, 535  # closing down; not, or wrongly, authenticated


class Refusal(Exception):
    """The relay did not take the message. `reason` holds its own words where it said any."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class FinalRefusal(Refusal):
    """5xx to this recipient or this message: no retry will help."""


class LaterRefusal(Refusal):
    """4xx to this recipient or this message: try this one again later."""


class Withdrawn(Exception):
    """By the time that the relay was ready for it, the message was no longer ours to send."""


@dataclass(eq=False)
class RelayTrouble(Exception):
    """The relay cannot be used now; this message is not at fault.

    `unknown` tells that the final dot had been written, so the relay may have taken the message.
    """

    reason: str
    unknown: bool = False


class Relay:
    """A pool of connections, each used for one message at a time.

    How many are in use at once is for the caller to bound.
    """

    def __init__(self, settings: Settings) -> None:
        self.address = f"{settings.smtp_host}:{settings.smtp_port}"
        self._settings = settings
        self._tls = None if settings.smtp_security is Security.NONE else ssl.create_default_context()
        self._idle: deque[tuple[SmtpSession, float]] = deque()

    async def send(self, message: Message, *, may_begin: Callable[[], bool] = lambda: True) -> str:
        """The relay's words after taking the message. `may_begin` is asked last of all before the content.

        Raises FinalRefusal, LaterRefusal, RelayTrouble or Withdrawn.
        """
        session = await self._start_message(message)
        try:
            await _address(session, message.recipient)
            if not may_begin():
                raise Withdrawn
            reply = await _send_content(session, message.content)
        except BaseException:
            session.close()
            raise
        self._idle.append((session, time.monotonic()))
        return reply

    async def probe(self) -> None:
        """Connects, logs in, names the sender and takes leave. Raises RelayTrouble."""
        await (await self._open(self._settings.sender)).quit()

    async def close_stale(self) -> None:
        """Takes leave of what has been idle for long, before the relay does."""
        stale = []
        while self._idle and time.monotonic() - self._idle[0][1] > IDLE_TIMEOUT:
            stale.append(self._idle.popleft()[0])
        # All at once: renewals wait for this, and a relay may answer none of them.
        await asyncio.gather(*(session.quit() for session in stale))

    async def close(self) -> None:
        idle, self._idle = self._idle, deque()
        await asyncio.gather(*(session.quit() for session, _ in idle))

    async def _start_message(self, message: Message) -> SmtpSession:
        """One in which MAIL was accepted. An idle one that went stale costs nothing."""
        mail, rcpt = _mail(message.sender), _rcpt(message.recipient)
        while self._idle:
            session, _ = self._idle.pop()
            with contextlib.suppress(SMTPException):
                reply = await session.command(mail, rcpt, DATA, within=COMMAND_TIMEOUT)
                if reply.code == SMTPStatus.completed:
                    return session
            session.close()
        return await self._open(message.sender)

    async def _open(self, sender: str) -> SmtpSession:
        """A new one, in which MAIL was accepted. Raises RelayTrouble."""
        connection = await self._connect()
        try:
            await connection.mail(sender, timeout=COMMAND_TIMEOUT)  # says EHLO too
            return SmtpSession(connection)
        except (SMTPException, OSError) as exc:
            connection.close()
            raise RelayTrouble(_reply_text(exc)) from exc

    async def _connect(self) -> SMTP:
        settings = self._settings
        connection = SMTP(
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            username=settings.smtp_username or None,
            password=settings.smtp_password.get_secret_value() or None,
            # A name that resolves, unlike a container's; the default asks the DNS for one.
            local_hostname=settings.sender.rpartition("@")[2],
            timeout=CONNECT_TIMEOUT,
            use_tls=settings.smtp_security is Security.TLS,
            # Never None: that would fall back to clear text where STARTTLS is stripped.
            start_tls=settings.smtp_security is Security.STARTTLS,
            tls_context=self._tls,
        )
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await connection.connect()
        except TimeoutError as exc:  # whose own words do not say who was asked
            raise RelayTrouble(f"{self.address} did not answer within {CONNECT_TIMEOUT:g} s") from exc
        except (SMTPException, OSError) as exc:
            raise RelayTrouble(_reply_text(exc)) from exc
        return connection


def _mail(sender: str) -> bytes:
    return b"MAIL FROM:<%b>\r\n" % sender.encode("ascii")


def _rcpt(recipient: str) -> bytes:
    return b"RCPT TO:<%b>\r\n" % recipient.encode("ascii")


async def _address(session: SmtpSession, recipient: str) -> None:
    """Until the relay waits for the content."""
    rcpt = _rcpt(recipient)
    try:
        reply = await session.command(rcpt, DATA, within=COMMAND_TIMEOUT)
        if reply.code not in (SMTPStatus.completed, SMTPStatus.will_forward):
            raise SMTPRecipientRefused(reply.code, reply.message, recipient)
        reply = await session.command(DATA, within=COMMAND_TIMEOUT)
        if reply.code != SMTPStatus.start_input:
            raise SMTPDataError(reply.code, reply.message)
    except SMTPResponseException as exc:
        raise _classify(exc, at_rcpt=isinstance(exc, SMTPRecipientRefused)) from exc
    except SMTPException as exc:
        raise RelayTrouble(_reply_text(exc)) from exc


async def _send_content(session: SmtpSession, content: bytes) -> str:
    try:
        session.send_data(_dots_stuffed(content) + b".\r\n")
    except SMTPException as exc:
        raise RelayTrouble(_reply_text(exc)) from exc
    try:
        reply = await session.read_reply(within=FINAL_DOT_TIMEOUT)
    except SMTPException as exc:
        raise RelayTrouble(_reply_text(exc), unknown=True) from exc
    if not 200 <= reply.code < 300:  # noqa: PLR2004  # RFC 5321, section 4.2.1: the first digit decides
        refusal = SMTPDataError(reply.code, reply.message)
        raise _classify(refusal, at_rcpt=False) from refusal
    return f"{reply.code} {reply.message}"


def _dots_stuffed(content: bytes) -> bytes:
    """RFC 5321, section 4.5.2. No message begins with a dot: its headers come first."""
    return content.replace(b"\n.", b"\n..")


def _classify(exc: SMTPResponseException, *, at_rcpt: bool) -> Refusal | RelayTrouble:
    """Whose fault an answer to RCPT, DATA or the final dot is.

    5.7.x is security or policy (RFC 3463, section 3.8): at RCPT it says that we may not relay.
    """
    words = _reply_text(exc)
    if exc.code in NOT_ABOUT_THIS_MESSAGE or (at_rcpt and exc.message.startswith("5.7.")):
        return RelayTrouble(words)
    if 500 <= exc.code < 600:  # noqa: PLR2004  # RFC 5321, section 4.2.1
        return FinalRefusal(words)
    return LaterRefusal(words)


def _reply_text(exc: Exception) -> str:
    if isinstance(exc, SMTPResponseException):
        return f"{exc.code} {exc.message}"
    return str(exc) or type(exc).__name__
