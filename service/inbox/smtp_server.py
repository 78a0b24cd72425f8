"""The SMTP server that catches the mails."""

import asyncio
import logging

from aiosmtpd.smtp import SMTP, Envelope, Session

from service.inbox.mail import replace_surrogates
from service.inbox.store import HOSTNAME, MailStore

MAX_BYTES = 10 * 2**20  # of one mail, announced as SIZE
CAUGHT = "250 2.0.0 OK: caught as"
IDLE = 24 * 60 * 60  # s; the senders' pools keep connections for as long as they like


class InboxSmtpServer:
    """Accepts every mail, for any recipient, into the mailbox."""

    def __init__(self, store: MailStore, *, host: str, port: int) -> None:
        self._store = store
        self._host = host
        self._port = port
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port it listens on, also where 0 was asked for."""
        return self._port

    async def start(self) -> None:
        """Raises OSError if the port is in use."""
        # Below this level aiosmtpd logs addresses and whole messages.
        logging.getLogger("mail.log").setLevel(logging.WARNING)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, self._host, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Hangs up on whoever is still connected."""
        if self._server is None:
            return
        self._server.close()
        hung_up = [connection.abort() for connection in self._connections]
        await asyncio.gather(*hung_up, return_exceptions=True)  # some hang up on us meanwhile

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name
        mail = self._store.add(
            sender=replace_surrogates(envelope.mail_from or "").removeprefix("<>"),
            recipients=[replace_surrogates(recipient) for recipient in envelope.rcpt_tos],
            raw=envelope.original_content or b"",
            helo=replace_surrogates(session.host_name or ""),
        )
        return f"{CAUGHT} {mail.id}"

    def _connection(self) -> "_Connection":
        return _Connection(self, among=self._connections)


class _Connection(SMTP):
    """Known among the open ones: a closed asyncio server leaves its connections alone."""

    line_length_limit = MAX_BYTES  # not the standard's 1,000 bytes: what MailHog takes is taken here

    def __init__(self, inbox: InboxSmtpServer, *, among: set["_Connection"]) -> None:
        super().__init__(
            inbox,
            data_size_limit=MAX_BYTES,
            enable_SMTPUTF8=True,
            hostname=HOSTNAME,  # else aiosmtpd asks the DNS for it, blocking, at every connection
            timeout=IDLE,
            loop=asyncio.get_running_loop(),
        )
        self._among = among

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._among.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._among.discard(self)
        super().connection_lost(error)

    async def abort(self) -> None:
        """Hangs up, whatever is being said."""
        self._writer.transport.abort()
        await self._writer.wait_closed()
