"""uvicorn, as this service runs it."""

import errno
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from service.runtime.signals import DRAIN_SECONDS, SIGNALS
from service.settings import InvalidSettings
from service.settings.urls import host_in_url
from service.web.protocol import HttpProtocol

BACKLOG = 2048
# What the system says of an address of another machine, and of a name that it does not know.
NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_FAIL)


class PortInUse(Exception):
    """A sentence for people, with the setting to change."""


class Server(uvicorn.Server):
    """Exits with status 0 after a signal; uvicorn would raise the signal again.

    `on_started` is called as soon as requests are answered.
    """

    def __init__(self, config: uvicorn.Config, *, on_started: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def config(app: ASGIApp | str, *, keep_alive: int, **options: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=HttpProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        proxy_headers=False,  # `client_address` believes only TRUSTED_PROXIES
        server_header=False,
        timeout_keep_alive=keep_alive,
        **{"timeout_graceful_shutdown": int(DRAIN_SECONDS), **options},  # type: ignore[arg-type]  # uvicorn's own
    )


def listen(host: str, port: int, *, setting: str) -> socket.socket:
    """`::` listens on IPv4 too. Raises PortInUse, and InvalidSettings for a host that is not this machine."""
    both_families = host == "::" and socket.has_dualstack_ipv6()
    with explain_port_errors(host, port, setting=setting):
        return socket.create_server(
            (host, port),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            backlog=BACKLOG,
            dualstack_ipv6=both_families,
        )


@contextmanager
def explain_port_errors(host: str, port: int, *, setting: str) -> Iterator[None]:
    """Turns the system's error about listening into a sentence with the fix. Raises as `listen` does."""
    try:
        yield
    except OSError as exc:
        if exc.errno in NO_SUCH_ADDRESS:
            # conda sets HOST for its compilers, so that it may come from nowhere near .env.
            raise InvalidSettings(
                f"HOST is {host}, which is no address of this machine: "
                "set it to 127.0.0.1, or to 0.0.0.0 to be reached from others."
            ) from exc
        reason = os.strerror(exc.errno) if exc.errno else str(exc)
        raise PortInUse(
            f"{host_in_url(host)}:{port} cannot be used ({reason}): stop what uses it, or set {setting}."
        ) from exc
