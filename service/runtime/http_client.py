"""What the service's requests to other systems have in common. Imported only where it is needed, because
aiohttp takes long to import."""

import os
import socket
import ssl
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

CONNECT_TIMEOUT = 10.0  # s


class UnusableProxy(Exception):
    """Its address is not one of an HTTP proxy."""


NOT_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    UnusableProxy,
)
ERRORS = (*NOT_CONNECTED, aiohttp.ClientError, OSError)  # all that a request may raise


def open_session(
    url: str, *, headers: dict[str, str], connections: int = 1, idle_timeout: float = 1.0
) -> aiohttp.ClientSession:
    """For requests to that address, within a running loop. Raises UnusableProxy."""
    is_tls = urlsplit(url).scheme == "https"
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=connections,
            keepalive_timeout=idle_timeout,
            ssl=ssl.create_default_context() if is_tls else True,
        ),
        proxy=_proxy_for(url) if is_tls else None,  # or a proxy would read what is sent
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"Accept-Encoding": "identity"} | headers,
    )


def describe(exc: Exception) -> str:
    """Without the address, which may hold a secret."""
    match exc:
        case aiohttp.ConnectionTimeoutError():
            return f"no connection within {CONNECT_TIMEOUT:g} s"
        case aiohttp.ClientResponseError():  # also from a proxy
            return " ".join(exc.message.split())
        case aiohttp.ClientConnectorError():
            return _words(exc.__cause__ or exc.os_error)
    return _words(exc)


def _words(exc: BaseException) -> str:
    if isinstance(exc, socket.gaierror):
        return exc.strerror or str(exc)
    if isinstance(exc, OSError) and exc.errno and not isinstance(exc, ssl.SSLError):
        return os.strerror(exc.errno)  # asyncio's own words repeat the address
    return str(exc) or type(exc).__name__


def _proxy_for(url: str) -> str | None:
    """From HTTPS_PROXY or ALL_PROXY, unless NO_PROXY has this host."""
    proxies = getproxies()
    proxy = proxies.get("https") or proxies.get("all")
    if not proxy or proxy_bypass(urlsplit(url).hostname or ""):
        return None
    if urlsplit(proxy).scheme not in {"http", "https"}:
        raise UnusableProxy("the proxy in HTTPS_PROXY must begin with http:// or https://")
    return proxy
