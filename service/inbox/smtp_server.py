"""The SMTP server that catches mails."""

import asyncio
import logging

from aiosmtpd.smtp import SMTP, Envelope, Session

from service.inbox.mail import replace_surrogates
from service.inbox.store import HOSTNAME, MailStore

MAX_BYTES = 10 * 2**20  # of one mail, announced as SIZE
CAUGHT = "250 2.0.0 OK: caught as"
IDLE = 24 * 60 * 60  # s; senders may keep connections open as long as they like


class InboxSmtpServer:
    """Accepts every mail, for any recipient, and stores it in the inbox."""

    def __init__(self, store: MailStore, *, host: str, port: int) -> None:
        self._store = store
        self._host = host
        self._port = port
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port that it listens on, even if it was started with port 0."""
        return self._port

    async def start(self) -> None:
        """Raises OSError if the port is in use."""
        # At lower levels aiosmtpd logs addresses and whole messages.
        logging.getLogger("mail.log").setLevel(logging.WARNING)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, self._host, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Closes all open connections."""
        if self._server is None:
            return
        self._server.close()
        hung_up = [connection.abort() for connection in self._connections]
        await asyncio.gather(*hung_up, return_exceptions=True)  # some clients disconnect meanwhile

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
    """Registers itself, because closing an asyncio server does not close its connections."""

    line_length_limit = MAX_BYTES  # not the standard's 1,000 bytes, because MailHog accepts longer lines

    def __init__(self, inbox: InboxSmtpServer, *, among: set["_Connection"]) -> None:
        super().__init__(
            inbox,
            data_size_limit=MAX_BYTES,
            enable_SMTPUTF8=True,
            hostname=HOSTNAME,  # otherwise aiosmtpd does a blocking DNS lookup for each connection
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
        """Closes the connection at once."""
        self._writer.transport.abort()
        await self._writer.wait_closed()
