"""A collector of OpenTelemetry, over HTTP."""

import asyncio


class Collector:
    """Receives OTLP over HTTP and keeps the bytes: text can be read in protobuf as it is."""

    def __init__(self) -> None:
        self.heard: dict[str, bytes] = {}

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        path, length = head.split()[1], head.partition("content-length: ")[2].split()[0]
        self.heard[path] = self.heard.get(path, b"") + await reader.readexactly(int(length))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    def has_heard(self, path: str, words: bytes) -> bool:
        return words in self.heard.get(path, b"")
