"""The command `serve`: the API, and delivery beside it."""

import socket
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import configure

if TYPE_CHECKING:
    from fastapi import FastAPI


def serve(
    workers: Annotated[int, typer.Option(min=1, help="How many processes share the port.")] = 1,
) -> None:
    """Run the API, and deliver mail unless WORKER=false."""
    from service.web.server import listen

    settings = configure()
    settings.require_production_values()
    listener = listen(settings.host, settings.port, setting="PORT")
    run_server(listener, workers=workers, keep_alive=settings.keep_alive)


def run_server(listener: socket.socket, *, workers: int, keep_alive: int) -> None:
    """Returns when a signal has ended it."""
    from uvicorn.config import STARTUP_FAILURE
    from uvicorn.supervisors import Multiprocess

    from service.web.server import Server, config

    if workers == 1:
        Server(config(application(), keep_alive=keep_alive)).run([listener])
        return
    factory = f"{__name__}:{application_of_many.__name__}"
    processes = Multiprocess(
        config(factory, keep_alive=keep_alive, factory=True, workers=workers), [listener]
    )
    processes.run()
    if any(process.exitcode == STARTUP_FAILURE for process in processes.processes):
        sys.exit(STARTUP_FAILURE)


def application() -> "FastAPI":
    """The app of this process, from its environment. Raises InvalidSettings."""
    from service.app import create_app
    from service.runtime.gc_tuning import tune_gc

    app = create_app(configure())
    tune_gc()
    return app


def application_of_many() -> "FastAPI":
    """The app of one of several processes. A process that cannot start is not restarted forever."""
    from uvicorn.config import STARTUP_FAILURE

    from service.settings import InvalidSettings

    try:
        return application()
    except InvalidSettings as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(STARTUP_FAILURE)
