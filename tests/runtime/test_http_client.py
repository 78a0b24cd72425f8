"""Posts to other systems: through which proxy, as which bytes, and what is said of those that fail."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import trustme

from service.runtime import http_client
from service.runtime.http_client import ERRORS, NOT_CONNECTED, HttpClient, describe, printable
from tests.support.ports import free_port

THANKS = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nthanks"
SECRET = "hook?token=secret"


@asynccontextmanager
async def answering(answer: bytes, *, asked: list[bytes] | None = None, **tls: Any) -> AsyncIterator[int]:
    """The port of a server that gives one answer on each connection and closes it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if asked is not None:
            asked.append(head)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, **tls)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
async def url(authority: trustme.CA) -> AsyncIterator[str]:
    """Of a server that answers with "thanks", over TLS."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    async with answering(THANKS, ssl=tls) as port:
        yield f"https://localhost:{port}/{SECRET}"


async def post(url: str) -> bytes:
    async with HttpClient(url, headers={}) as client, client.post(b"") as response:
        return await response.read()


async def failure(url: str, kinds: tuple[type[Exception], ...] = NOT_CONNECTED) -> str:
    with pytest.raises(kinds) as caught:
        await post(url)
    said = describe(caught.value)
    assert "secret" not in said
    return said


class HttpProxy:
    """Opens tunnels (RFC 9110, section 9.3.6) for who knows the password, "ópen:ses@me" in base64."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split(" ", 2)
        self.asked.append(f"{method} {target}")
        if "Basic w7NwZW46c2VzQG1l" not in head:
            writer.write(b"HTTP/1.1 407 Who are you?\r\nContent-Length: 0\r\n\r\n")
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
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
async def proxy(no_proxy: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HttpProxy]:
    proxy = HttpProxy()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    for name in ("HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://%C3%B3pen:ses%40me@127.0.0.1:{proxy.port}")
    yield proxy
    server.close()


@pytest.mark.parametrize(
    ("variable", "scheme"), [("HTTPS_PROXY", "http://"), ("HTTPS_PROXY", ""), ("ALL_PROXY", "")]
)
async def test_a_proxy_in_the_environment_is_asked_for_a_tunnel(
    url: str, proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch, variable: str, scheme: str
) -> None:
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.setenv(variable, f"{scheme}%C3%B3pen:ses%40me@127.0.0.1:{proxy.port}")

    assert await post(url) == b"thanks"

    assert proxy.asked == [f"CONNECT {url.split('/')[2]}"]


@pytest.mark.parametrize("with_port", [False, True])
async def test_no_proxy_names_hosts_that_are_asked_directly(
    url: str, proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch, with_port: bool
) -> None:
    monkeypatch.setenv("NO_PROXY", url.split("/")[2] if with_port else "localhost")

    assert await post(url) == b"thanks"

    assert proxy.asked == []


async def test_what_is_not_encrypted_goes_through_no_proxy(proxy: HttpProxy) -> None:
    assert await failure(f"http://127.0.0.1:{free_port()}/") == "Connection refused"

    assert proxy.asked == []


async def test_a_proxy_that_refuses_is_quoted(
    url: str, proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", os.environ["HTTPS_PROXY"].replace("ses%40me", "secret"))

    assert await failure(url) == "the proxy answered 407 Who are you?"


@pytest.mark.parametrize(
    "address",
    [
        "socks5://127.0.0.1:1",
        "http://",
        "http://user:secret@127.0.0.1:99999",
        "http://user:secret@127.0.0.1:port",
        "http://[::1:3128",
    ],
)
async def test_a_proxy_that_is_none_is_refused(
    url: str, no_proxy: None, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address)

    assert await failure(url) == (
        "HTTPS_PROXY must be a host with its port, such as http://proxy.example:3128"
    )


async def test_a_certificate_that_nobody_vouches_for_is_named(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")

    assert "certificate verify failed" in await failure(url)


async def test_a_host_that_is_away_is_told_from_one_that_nobody_knows(
    no_proxy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await failure(f"https://localhost:{free_port()}/{SECRET}") == "Connection refused"

    def find_none(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", find_none)
    assert await failure(f"https://localhost/{SECRET}") == "Name or service not known"


async def test_a_host_with_two_addresses_that_take_no_part_in_tls_is_given_up_in_time(
    no_proxy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "CONNECT_TIMEOUT", 1.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        two = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.1",) * 2]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: two)

        begun = asyncio.get_running_loop().time()
        said = await failure(f"https://two.example:{port}/{SECRET}")

    assert said == "no connection within 1.5 s"
    assert asyncio.get_running_loop().time() - begun < 2.7


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "it was closed"),
        (b"HTTP/1.1 200 OK\r\nSet-Cookie: session=secret\r\n", "it was closed"),
        (b"nonsense\r\n\r\n", "Bad status line"),
    ],
)
async def test_an_answer_that_is_none_is_described_without_its_secrets(answer: bytes, words: str) -> None:
    async with answering(answer) as port:
        assert (await failure(f"http://127.0.0.1:{port}/{SECRET}", ERRORS)).startswith(words)


async def test_a_connection_that_closes_while_a_post_begins_keeps_the_address_to_itself() -> None:
    """aiohttp's own words would be: can not write request body for …"""
    exc = aiohttp.ClientOSError(None, f"Can not write request body for https://localhost/{SECRET}")

    assert describe(exc) == "ClientOSError"


async def test_headers_may_be_as_large_as_those_of_other_clients() -> None:
    many = "".join(f"X-{number}: y\r\n" for number in range(300))
    head = f"HTTP/1.1 200 OK\r\nX-Large: {'x' * 20_000}\r\n{many}Content-Length: 6\r\n\r\nthanks"
    async with answering(head.encode()) as port:
        assert await post(f"http://127.0.0.1:{port}/") == b"thanks"


async def test_the_address_is_sent_as_it_is_written() -> None:
    asked: list[bytes] = []
    path = "/a%2Fb/%7E;c?sp=%2Ftriggers&sig=a%2Bb%2Fc%3D&x=%7E"
    async with answering(THANKS, asked=asked) as port:
        await post(f"http://127.0.0.1:{port}{path}")

    assert asked[0].split()[1].decode() == path


async def test_a_server_that_closes_after_each_answer_takes_every_post() -> None:
    async with answering(THANKS) as port, HttpClient(f"http://127.0.0.1:{port}/", headers={}) as client:
        for _ in range(50):
            async with client.post(b"") as response:
                assert await response.read() == b"thanks"


def test_what_a_stranger_says_is_short_and_can_be_shown_anywhere() -> None:
    said = printable("500 \udcff\x1b[31m no\r\n  way " + "x" * 1000)

    assert said.startswith("500 [31m no way x")
    assert len(said) == http_client.MAX_WORDS
