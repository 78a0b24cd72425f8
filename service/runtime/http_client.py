"""Posts to another system. Imported only where it is needed, because aiohttp takes long to import."""

import asyncio
import os
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

CONNECT_TIMEOUT = 10.0  # s, from the name of the host to the end of the TLS handshake
MAX_HEADER = 64 * 1024  # bytes, each; some systems send long cookies
MAX_HEADERS = 1000
MAX_WORDS = 200  # characters of what a stranger says about a failure


class UnusableProxy(Exception):
    """Its address is not one of an HTTP proxy."""


NOT_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    UnusableProxy,
)
ERRORS = (*NOT_CONNECTED, aiohttp.ClientError, OSError)  # all that `post` may raise


class HttpClient:
    """Posts to one address. Redirects are not followed, and cookies are not kept."""

    def __init__(
        self, url: str, *, headers: Mapping[str, str], connections: int = 1, idle_timeout: float = 1.0
    ) -> None:
        self._url = URL(url, encoded=url.isascii())  # as it is written: it may be signed
        self._is_tls = self._url.scheme == "https"
        self._headers = {"Accept-Encoding": "identity", **headers}
        self._connections = connections
        self._idle_timeout = idle_timeout
        self._session: aiohttp.ClientSession | None = None
        self._proxy_headers: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @asynccontextmanager
    async def post(
        self, data: bytes | Mapping[str, str], *, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            self._session = self._open()
        await asyncio.sleep(0)  # so that the loop sees which of the idle connections have been closed
        async with self._session.post(
            self._url,
            data=data,
            headers=headers,
            allow_redirects=False,
            proxy_headers=self._proxy_headers,
        ) as response:
            yield response

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        """Needs a running loop."""
        tls = ssl.create_default_context() if self._is_tls else None
        proxy = _find_proxy(self._url) if self._is_tls else None  # or a proxy would read what is sent
        if tls:
            tls.set_alpn_protocols(["http/1.1"])
        if proxy and proxy.username is not None:
            self._proxy_headers = {"Proxy-Authorization": _basic(proxy)}
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._connections, keepalive_timeout=self._idle_timeout, ssl=tls or True
            ),
            proxy=URL(f"{proxy.scheme}://{proxy.netloc.rpartition('@')[2]}") if proxy else None,
            # `sock_connect` is for each address that the host has, `connect` for all of them.
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT, sock_connect=CONNECT_TIMEOUT),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
            max_headers=MAX_HEADERS,
            headers=self._headers,
        )


def describe(exc: BaseException) -> str:
    """In words of our own: aiohttp's may hold the address and headers, which may be secret."""
    match exc:
        case UnusableProxy() | ssl.SSLError():
            words = str(exc)
        case aiohttp.ConnectionTimeoutError():
            words = f"no connection within {CONNECT_TIMEOUT:g} s"
        case aiohttp.ClientHttpProxyError():
            words = f"the proxy answered {exc.status} {exc.message}"
        case aiohttp.ClientResponseError():
            words = exc.message
        case aiohttp.ClientConnectorError():
            words = describe(exc.__cause__ or exc.os_error)
        case aiohttp.ServerDisconnectedError():
            words = "it was closed"
        case socket.gaierror():
            words = exc.strerror or "the name is unknown"
        case OSError() if exc.errno:
            words = os.strerror(exc.errno)
        case _:
            words = type(exc).__name__
    return printable(words)


def printable(text: str) -> str:
    """What a stranger says, in one line of a bounded length that can be shown anywhere."""
    return "".join(filter(str.isprintable, " ".join(text.split())))[:MAX_WORDS]


def _find_proxy(url: URL) -> SplitResult | None:
    """From HTTPS_PROXY or ALL_PROXY, unless NO_PROXY has this host. Raises UnusableProxy."""
    proxies = getproxies()
    address = proxies.get("https") or proxies.get("all")
    if not address or proxy_bypass(url.raw_host or "") or proxy_bypass(f"{url.raw_host}:{url.port}"):
        return None
    try:
        proxy = urlsplit(address if "://" in address else f"http://{address}")
        is_usable = proxy.scheme in {"http", "https"} and proxy.hostname and proxy.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise UnusableProxy("HTTPS_PROXY must be a host with its port, such as http://proxy.example:3128")
    return proxy


def _basic(proxy: SplitResult) -> str:
    credentials = f"{unquote(proxy.username or '')}:{unquote(proxy.password or '')}"
    return f"Basic {b64encode(credentials.encode()).decode()}"
