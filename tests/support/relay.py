"""A real SMTP server that replies at each stage what a test asks for, and records everything."""

import asyncio
import email
import email.policy
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from typing import ClassVar, Self

from tests.support.ports import free_port

Answer = str | Callable[["Envelope"], str]

HANG = "hang"  # never replies, and keeps the connection open
DROP = "drop"  # closes the connection


@dataclass
class Envelope:
    sender: str = ""
    recipient: str = ""
    content: bytes = b""

    @property
    def message(self) -> EmailMessage:
        parsed = email.message_from_bytes(self.content, policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    @property
    def message_id(self) -> str:
        """Read from the headers alone, as there may be a hundred thousand mails to compare."""
        return str(BytesHeaderParser().parsebytes(self.content)["Message-ID"])


@dataclass
class ScriptedRelay:
    """`answers` maps a stage (greeting, ehlo, starttls, auth, mail, rcpt, data, dot, quit, or nothing for an
    empty line) to its reply, or to a function from the envelope to the reply. `delays` has the seconds to
    wait before it."""

    answers: dict[str, Answer] = field(default_factory=dict)
    delays: dict[str, float] = field(default_factory=dict)
    accepted: list[Envelope] = field(default_factory=list)  # answered 250 after the dot
    unanswered: list[Envelope] = field(default_factory=list)  # received up to the dot, and not answered 250
    stages: Counter[str] = field(default_factory=Counter)
    commands: list[str] = field(default_factory=list)
    connections: int = 0
    most_connections: int = 0
    port: int = 0
    on_stage: Callable[[str, Envelope], Awaitable[None]] | None = None
    tls: ssl.SSLContext | None = None
    encoding: str = "utf-8"  # of what it says
    starttls: bool = False  # TLS on demand, instead of from the first byte
    _server: asyncio.Server | None = None
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    NORMAL: ClassVar = {
        "greeting": "220 ready",
        "ehlo": "250-relay\r\n250-PIPELINING\r\n250 8BITMIME",
        "mail": "250 2.1.0 ok",
        "rcpt": "250 2.1.5 ok",
        "data": "354 go on",
        "dot": "250 2.0.0 queued",
        "quit": "221 bye",
        "starttls": "220 go on",
        "auth": "235 welcome",
        "rset": "250 ok",
    }

    @classmethod
    async def started(cls, port: int = 0) -> Self:
        relay = cls(port=port)
        await relay.start()
        return relay

    async def start(self) -> None:
        self.port = self.port or free_port()  # the same port after a restart
        from_the_first_byte = None if self.starttls else self.tls
        self._server = await asyncio.start_server(
            self._converse, "127.0.0.1", self.port, ssl=from_the_first_byte
        )

    async def stop(self) -> None:
        if self._server:
            self._server.close()
            for conversation in self._open:
                conversation.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)
            self._server = None

    def forget(self) -> None:
        """For the next of the tests that share it."""
        for remembered in (
            self.answers,
            self.delays,
            self.accepted,
            self.unanswered,
            self.stages,
            self.commands,
        ):
            remembered.clear()

    @property
    def recipients(self) -> Counter[str]:
        return Counter(envelope.recipient for envelope in self.accepted)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._open.add(task)
        self.connections += 1
        self.most_connections = max(self.most_connections, self.connections)
        try:
            try:
                await self._session(reader, writer)
            except _Silence:
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError, _HangUp, asyncio.CancelledError):
            pass
        finally:
            self.connections -= 1
            self._open.discard(task)
            writer.transport.abort()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        envelope, is_taken = Envelope(), False
        await self._say(writer, "greeting", envelope)
        while received := await reader.readline():
            line = received.decode("latin-1").strip()
            self.commands.append(line)
            stage = line.partition(" ")[0].lower()
            address = line.partition("<")[2].partition(">")[0]
            match stage:
                case "mail":
                    envelope = Envelope(sender=address)
                    is_taken = False
                case "rcpt":
                    envelope.recipient = address
            if stage == "data" and not is_taken:  # RFC 5321, section 4.1.1.4
                writer.write(b"554 5.5.1 no valid recipients\r\n")
                continue
            answer = await self._say(writer, stage, envelope)
            is_taken = is_taken or (stage == "rcpt" and answer.startswith("2"))
            if stage == "data" and answer.startswith("354"):
                envelope.content = _unstuffed(await reader.readuntil(b"\r\n.\r\n"))
                await self._conclude(writer, envelope)
            elif stage == "starttls" and answer.startswith("220"):
                assert self.tls
                await writer.start_tls(self.tls)
            elif stage == "quit":
                return

    async def _conclude(self, writer: asyncio.StreamWriter, envelope: Envelope) -> None:
        self.unanswered.append(envelope)
        answer = await self._say(writer, "dot", envelope, before=lambda answer: self._count(answer, envelope))
        assert answer

    def _count(self, answer: str, envelope: Envelope) -> None:
        if answer.startswith("250"):
            self.unanswered.remove(envelope)
            self.accepted.append(envelope)

    async def _say(
        self,
        writer: asyncio.StreamWriter,
        stage: str,
        envelope: Envelope,
        *,
        before: Callable[[str], None] = lambda _: None,
    ) -> str:
        self.stages[stage] += 1
        if self.on_stage:
            await self.on_stage(stage, envelope)
        if delay := self.delays.get(stage):
            await asyncio.sleep(delay)
        answer = self.answers.get(stage, self.NORMAL.get(stage, "500 what?"))
        said = answer(envelope) if callable(answer) else answer
        if said == HANG:
            raise _Silence
        if said == DROP:
            raise _HangUp
        before(said)
        writer.write(said.encode(self.encoding) + b"\r\n")
        await writer.drain()
        if said.startswith("421"):
            raise _HangUp
        return said


class _HangUp(Exception):
    pass


class _Silence(Exception):
    pass


def _unstuffed(content: bytes) -> bytes:
    lines = content.removesuffix(b".\r\n").split(b"\r\n")
    return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)
