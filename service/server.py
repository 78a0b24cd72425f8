"""uvicorn, as this service runs it."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from service import logs, settings
from service.app import create_app
from service.memory import settle
from service.protocol import Protocol
from service.shutdown import SIGNALS
from service.welcome.delivery import DRAIN_SECONDS

BACKLOG = 2048
KEEP_ALIVE = 65  # s; longer than the proxies that may stand in front, or they send into closed connections


class PortInUse(Exception):
    """A sentence for people, with the setting to change."""


def application() -> FastAPI:
    """The app of this process, from its environment. Raises InvalidSettings."""
    configured = settings.load()
    logs.configure(configured)
    app = create_app(configured)
    settle()
    return app


def application_of_many() -> FastAPI:
    """The same, for one of several processes. What cannot start is not started again for ever."""
    try:
        return application()
    except settings.InvalidSettings as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(STARTUP_FAILURE)


class Server(uvicorn.Server):
    """Ends with status 0 when it was told to end and did; uvicorn would die of the signal again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def config(app: ASGIApp | str, **options: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        proxy_headers=False,  # `clients` believes only TRUSTED_PROXIES
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        **{"timeout_graceful_shutdown": int(DRAIN_SECONDS), **options},  # type: ignore[arg-type]  # uvicorn's own
    )


def listen(host: str, port: int, *, setting: str) -> socket.socket:
    """Raises PortInUse."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with explained(host, port, setting=setting):
        return socket.create_server((host, port), family=family, backlog=BACKLOG)


@contextmanager
def explained(host: str, port: int, *, setting: str) -> Iterator[None]:
    """Turns the system's word about a port into a sentence with the mend."""
    try:
        yield
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno else str(exc)
        raise PortInUse(
            f"{host}:{port} cannot be used ({reason}): stop what uses it, or set {setting}."
        ) from exc


def serve(listener: socket.socket, *, workers: int) -> None:
    """Until a signal ends it."""
    if workers == 1:
        Server(config(application())).run([listener])
        return
    many = Multiprocess(
        config("service.server:application_of_many", factory=True, workers=workers), [listener]
    )
    many.run()
    if any(process.exitcode == STARTUP_FAILURE for process in many.processes):
        sys.exit(STARTUP_FAILURE)
