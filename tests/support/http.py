"""HTTP without a client's help: what is sent is what was written, and what is read is what came."""

import errno
import json
import socket
import struct
from dataclasses import dataclass
from email.message import Message
from http.client import parse_headers
from typing import Any, Self


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def request_id(self) -> str:
        return str(self.headers["X-Request-ID"])


class Connection:
    """Sends anything, and reads answers one after the other."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._incoming = connection.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._incoming.close()
        self._socket.close()

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._socket.sendall(piece)

    def read(self, *, has_body: bool = True) -> Answer:
        status = int(self._incoming.readline().split()[1])
        headers = parse_headers(self._incoming)
        content = self._incoming.read(int(headers.get("Content-Length", 0))) if has_body else b""
        return Answer(status, headers, content)

    def is_cut(self) -> bool:
        """Whether the other end has reset the connection."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET

    def reset(self) -> None:
        """Leaves without a goodbye."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._incoming.close()
        self._socket.close()

    def is_closed(self) -> bool:
        """Waits for the end; fails if there is something before it."""
        return self._incoming.read(1) == b""
