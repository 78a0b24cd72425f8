"""Requests to other systems: through which proxy, and what is said of those that fail."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from service.runtime import http_client
from tests.support.ports import free_port

URL = "https://localhost:{port}/hook?token=secret"


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    return authority


@pytest.fixture
async def url(authority: trustme.CA) -> AsyncIterator[str]:
    """Of a server that answers every request with "thanks"."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\nthanks")
        await writer.drain()
        writer.close()

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    yield URL.format(port=server.sockets[0].getsockname()[1])
    server.close()


class HttpProxy:
    """Opens tunnels (RFC 9110, section 9.3.6) for who knows the password, "open:sesame" in base64."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split(" ", 2)
        self.asked.append(f"{method} {target}")
        if "Basic b3BlbjpzZXNhbWU=" not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        behind, to_behind = await asyncio.open_connection("127.0.0.1", int(target.rpartition(":")[2]))
        await asyncio.gather(_copy(reader, to_behind), _copy(behind, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
    writer.close()


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HttpProxy]:
    for name in ("NO_PROXY", "no_proxy", "https_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    proxy = HttpProxy()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for name in ("HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://open:sesame@127.0.0.1:{port}")
    yield proxy
    server.close()


async def post(url: str) -> bytes:
    async with http_client.open_session(url, headers={}) as session, session.post(url, data=b"") as response:
        return await response.read()


async def failure(url: str) -> str:
    with pytest.raises(http_client.NOT_CONNECTED) as caught:
        await post(url)
    return http_client.describe(caught.value)


async def test_a_proxy_in_the_environment_is_asked_for_a_tunnel(url: str, proxy: HttpProxy) -> None:
    assert await post(url) == b"thanks"

    assert proxy.asked == [f"CONNECT {url.split('/')[2]}"]


async def test_no_proxy_names_hosts_that_are_asked_directly(
    url: str, proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "localhost")

    assert await post(url) == b"thanks"

    assert proxy.asked == []


async def test_what_is_not_encrypted_goes_through_no_proxy(proxy: HttpProxy) -> None:
    assert await failure(f"http://127.0.0.1:{free_port()}/") == "Connection refused"

    assert proxy.asked == []


async def test_a_proxy_that_refuses_is_quoted(
    url: str, proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", os.environ["HTTPS_PROXY"].replace("sesame", "barley"))

    assert await failure(url) == "Proxy Authentication Required"


async def test_a_proxy_of_another_kind_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")

    assert await failure(url) == "the proxy in HTTPS_PROXY must begin with http:// or https://"


async def test_a_certificate_that_nobody_vouches_for_is_named(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")

    assert "certificate verify failed" in await failure(url)


async def test_a_host_that_is_away_is_told_from_one_that_nobody_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await failure(URL.format(port=free_port())) == "Connection refused"

    def find_none(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", find_none)
    assert await failure(URL.format(port=443)) == "Name or service not known"


async def test_a_host_that_takes_no_part_in_tls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "CONNECT_TIMEOUT", 0.1)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = await failure(URL.format(port=silent.getsockname()[1]))

    assert said == "no connection within 0.1 s"
