"""A TCP proxy that breaks connections on request."""

import asyncio
from collections.abc import Callable
from typing import Self


class Proxy:
    """A proxy in front of a port of this machine.

    `up` False refuses new connections. `flowing` cleared keeps every byte back, in both
    directions, as dropped packets do. `cut_when` is asked about each piece on its way
    (`to_server`, bytes) and cuts the connection, piece included, where it says so.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.port = 0
        self.up = True
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.cut_when: Callable[[bool, bytes], bool] | None = None
        self.cuts = 0
        self._server: asyncio.Server | None = None
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._pumps: set[asyncio.Task[None]] = set()

    @classmethod
    async def started(cls, upstream: int) -> Self:
        proxy = cls(upstream)
        proxy._server = await asyncio.start_server(proxy._connect, "127.0.0.1", 0)
        proxy.port = proxy._server.sockets[0].getsockname()[1]
        return proxy

    async def stop(self) -> None:
        self.reset()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        if self._server:
            self._server.close()

    def swallow(self) -> None:
        """Present connections silently stop carrying bytes; new ones work."""
        self.flowing.clear()
        self.flowing = asyncio.Event()
        self.flowing.set()

    def reset(self) -> None:
        """Cuts all present connections."""
        for pair in list(self._pairs):
            for writer in pair:
                writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.up:
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:
            writer.transport.abort()
            return
        if not self.up:  # since it was asked
            writer.transport.abort()
            server_writer.transport.abort()
            return
        pair = (writer, server_writer)
        self._pairs.add(pair)
        pumps = [
            asyncio.create_task(self._pump(reader, server_writer, to_server=True)),
            asyncio.create_task(self._pump(server_reader, writer, to_server=False)),
        ]
        self._pumps.update(pumps)
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
            self._pumps.discard(pump)
        for end in pair:
            end.transport.abort()
        self._pairs.discard(pair)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_server: bool
    ) -> None:
        flowing = self.flowing
        try:
            while piece := await reader.read(65536):
                await flowing.wait()
                if self.cut_when and self.cut_when(to_server, piece):
                    self.cuts += 1
                    return
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass
