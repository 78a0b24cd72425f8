"""A token endpoint (RFC 6749) that answers what a test asks for, and records what it was sent."""

import asyncio
import json
import ssl
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs

HANG = 0  # as a status: never answers


@dataclass
class TokenEndpoint:
    """Issues the tokens token-1, token-2 and so on, unless `body` is set."""

    status: int = 200
    body: bytes | None = None
    more: dict[str, object] = field(default_factory=lambda: {"expires_in": 3600})
    delay: float = 0.0  # s
    forms: list[dict[str, str]] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None

    @classmethod
    async def started(cls, tls: ssl.SSLContext | None = None) -> Self:
        endpoint = cls()
        endpoint._server = await asyncio.start_server(endpoint._serve, "127.0.0.1", 0, ssl=tls)
        endpoint.port = endpoint._server.sockets[0].getsockname()[1]
        return endpoint

    async def stop(self) -> None:
        if self._server:
            self._server.close()
            self._server = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/token"

    def refuse(self, error: str, description: str = "") -> None:
        self.status = 400
        self.body = json.dumps({"error": error, "error_description": description}).encode()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").lower()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            form = parse_qs((await reader.readexactly(length)).decode("ascii"))
            self.forms.append({name: value for name, [value] in form.items()})
            if self.status == HANG:
                await reader.read()
                return
            await asyncio.sleep(self.delay)
            body = self.body if self.body is not None else self._token()
            writer.write(f"HTTP/1.1 {self.status} x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _token(self) -> bytes:
        return json.dumps({"access_token": f"token-{len(self.forms)}", **self.more}).encode()
