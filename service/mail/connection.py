"""Opens a connection to the relay: its addresses, the greeting, TLS and login."""

import asyncio
import contextlib
import socket
import ssl
from typing import TYPE_CHECKING

from aiosmtplib import SMTP, SMTPAuthenticationError, SMTPException, SMTPNotSupported, SMTPResponseException

from service.mail.replies import CLOSING, WRONG_CREDENTIALS, describe
from service.outbox.channel import ChannelTrouble
from service.settings import Security, Settings, SmtpAuth

if TYPE_CHECKING:
    from service.mail.oauth import AccessTokens

# Their order does not affect secrecy: without TLS, passwords go to loopback only.
AUTH_METHODS = "plain", "login", "cram-md5"
TCP_TIMEOUT = 10.0  # s, for all addresses together
QUIT_TIMEOUT = 2.0
CREDENTIALS_PAUSE = 30.0  # s; providers lock accounts whose password is tried too often


class RelayTrouble(ChannelTrouble):
    """The relay cannot be used now."""


class RelayBusy(RelayTrouble):
    """The relay refused one connection more. It may go on with others."""


class TokenTrouble(RelayTrouble):
    """There is no access token to log in with. `error` is the token endpoint's code (RFC 6749, section 5.2),
    if it gave one."""

    def __init__(self, reason: str, *, error: str = "") -> None:
        super().__init__(reason, pause=CREDENTIALS_PAUSE if error else 0.0)
        self.error = error


class Connector:
    """Remembers which of the relay's addresses answered."""

    def __init__(self, settings: Settings) -> None:
        self.address = f"{settings.smtp_host}:{settings.smtp_port}"
        self._settings = settings
        self._host = settings.smtp_host.rstrip(".")  # no certificate names the root
        self._tls = None if settings.smtp_security is Security.NONE else ssl.create_default_context()
        self._last_address: object = None
        self._tokens = _access_tokens(settings)

    async def open(self, *, within: float) -> SMTP:
        """Ready for MAIL. `within` is how long each reply may take, in seconds. Raises RelayTrouble."""
        settings = self._settings
        if self._tokens:
            await self._tokens.get()  # first, so that the relay does not wait while one is fetched
        connection = SMTP(
            hostname=self._host,
            sock=await self._connect(within=min(within, TCP_TIMEOUT)),
            # A name that resolves, unlike a container's; the default asks the DNS for one.
            local_hostname=settings.ehlo_name or settings.sender_domain,
            timeout=within,
            use_tls=settings.smtp_security is Security.TLS,
            # Never None: that would fall back to clear text where STARTTLS is stripped.
            start_tls=settings.smtp_security is Security.STARTTLS,
            tls_context=self._tls,
        )
        try:
            await connection.connect()
            await _say_hello(connection)
            if self._tokens:
                await _login_with_token(connection, settings.smtp_username, self._tokens)
            elif settings.smtp_username:
                await _login(connection, settings)
        except (SMTPException, OSError) as exc:
            await _quit(connection)
            raise _to_trouble(exc) from exc
        except RelayTrouble:
            await _quit(connection)
            raise
        except BaseException:
            connection.close()
            raise
        return connection

    async def _connect(self, *, within: float) -> socket.socket:
        """Connects to the first address that accepts, and tries the last one that did before the others.
        (uvloop cannot race them, as RFC 8305 would.)"""
        where = f"{self._host} on port {self._settings.smtp_port}"
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._host, self._settings.smtp_port, type=socket.SOCK_STREAM)
            found.sort(key=lambda entry: entry[4] != self._last_address)
            for tried, (family, kind, protocol, _, address) in enumerate(found, 1):
                try:
                    async with asyncio.timeout(within / len(found)):
                        connected = await _connect_socket(family, kind, protocol, address)
                except OSError:
                    if tried == len(found):
                        raise
                else:
                    self._last_address = address
                    return connected
        except TimeoutError as exc:  # whose text does not name the relay
            raise RelayTrouble(f"{self.address} did not answer within {within:g} s") from exc
        except OSError as exc:
            raise RelayTrouble(f"Error connecting to {where}: {exc}") from exc
        raise RelayTrouble(f"Error connecting to {where}: it has no address")


def _access_tokens(settings: Settings) -> "AccessTokens | None":
    if settings.smtp_auth is not SmtpAuth.XOAUTH2:
        return None
    from service.mail.oauth import AccessTokens  # it imports aiohttp, which takes long and which few need

    return AccessTokens(settings)


async def _connect_socket(family: int, kind: int, protocol: int, address: object) -> socket.socket:
    connecting = socket.socket(family, kind, protocol)
    try:
        connecting.setblocking(False)
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(connecting, address)  # type: ignore[arg-type]  # of getaddrinfo
    except BaseException:
        connecting.close()
        raise
    return connecting


async def _say_hello(connection: SMTP) -> None:
    if connection.is_ehlo_or_helo_needed:
        try:
            await connection.ehlo()
        except SMTPResponseException as exc:
            if not 500 <= exc.code < 600:  # noqa: PLR2004  # RFC 5321, section 4.2.1
                raise
            try:
                await connection.helo()
            except SMTPException:
                raise exc from None


async def _login(connection: SMTP, settings: Settings) -> None:
    """Tries each method that both sides know: some servers offer one that does not work. Raises SMTPException
    or RelayTrouble."""
    credentials = settings.smtp_username, settings.smtp_password.get_secret_value()
    offered = [method for method in AUTH_METHODS if method in connection.server_auth_methods]
    if not offered:
        await connection.login(*credentials)  # raises the error for this
        return
    refusals: list[Exception] = []
    for method in offered:
        try:
            await getattr(connection, f"auth_{method.replace('-', '')}")(*credentials)
        except (SMTPException, ValueError) as exc:  # ValueError: a broken challenge, or no MD5 here
            refusals.append(exc)
            if not connection.is_connected:
                break
        else:
            return
    for refusal in refusals:  # whatever the relay said or did after it
        if isinstance(refusal, SMTPResponseException) and refusal.code == WRONG_CREDENTIALS:
            raise RelayTrouble(describe(refusal), pause=CREDENTIALS_PAUSE) from refusal
    last = refusals[-1]
    if not connection.is_connected:
        raise last if isinstance(last, SMTPException) else SMTPException(str(last)) from last
    raise RelayTrouble(describe(last)) from last


async def _login_with_token(connection: SMTP, username: str, tokens: "AccessTokens") -> None:
    """Raises SMTPException or RelayTrouble."""
    if "xoauth2" not in connection.server_auth_methods:
        raise SMTPNotSupported("XOAUTH2 is not offered")
    for is_last in (False, True):
        token = await tokens.get()
        try:
            await connection.auth_xoauth2(username, token)
        except SMTPAuthenticationError as exc:
            if exc.code != WRONG_CREDENTIALS:
                raise
            tokens.discard(token)  # it may have been revoked: a new one is tried
            if is_last or not connection.is_connected:
                raise RelayTrouble(describe(exc), pause=CREDENTIALS_PAUSE) from exc
        else:
            return


async def _quit(connection: SMTP) -> None:
    """RFC 5321, section 4.1.1.10 asks for QUIT, even if the connection cannot be used."""
    try:
        if connection.is_connected:
            with contextlib.suppress(SMTPException, OSError):
                await connection.quit(timeout=QUIT_TIMEOUT)
    finally:
        connection.close()


def _to_trouble(exc: Exception) -> RelayTrouble:
    kind = RelayBusy if getattr(exc, "code", None) == CLOSING else RelayTrouble
    return kind(describe(exc))
