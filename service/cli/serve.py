"""The command `serve`: the API, and delivery beside it."""

import contextlib
import signal
import socket
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import configure, run

if TYPE_CHECKING:
    from fastapi import FastAPI


def serve(
    workers: Annotated[int, typer.Option(min=1, help="How many processes share the port.")] = 1,
) -> None:
    """Run the API, and deliver mail unless WORKER=false."""
    from service.cli.startup import announce
    from service.runtime.private_files import create_private_folder
    from service.settings import explain_write_errors
    from service.settings.urls import http_url
    from service.web.server import listen

    settings = configure()
    settings.require_production_values()
    with explain_write_errors(settings.data_dir):  # now, and not with a traceback of the server's
        create_private_folder(settings.data_dir)
    listener = listen(settings.host, settings.port, setting="PORT")
    address = http_url(settings.host, settings.port)
    run(announce("serve", settings, address=address, worker=settings.worker, processes=workers))
    run_server(listener, workers=workers, keep_alive=settings.keep_alive)


def run_server(listener: socket.socket, *, workers: int, keep_alive: int) -> None:
    """Returns when a signal has ended it."""
    from uvicorn.config import STARTUP_FAILURE
    from uvicorn.supervisors import Multiprocess

    from service.runtime.signals import SIGNALS
    from service.web.server import Server, config

    if workers == 1:
        Server(config(create_application(), keep_alive=keep_alive)).run([listener])
        return

    class Processes(Multiprocess):
        def handle_hup(self) -> None:
            """uvicorn would restart its processes, which end at the same signal of their terminal."""
            if signal.SIGHUP in SIGNALS:
                self.handle_term()

    factory = f"{__name__}:{create_application_or_exit.__name__}"
    processes = Processes(config(factory, keep_alive=keep_alive, factory=True, workers=workers), [listener])
    processes.run()
    if any(process.exitcode == STARTUP_FAILURE for process in processes.processes):
        sys.exit(STARTUP_FAILURE)


def create_application() -> "FastAPI":
    """The app of this process, from its environment. Raises InvalidSettings."""
    from service.app import create_app
    from service.runtime.gc_tuning import tune_gc

    app = create_app(configure())
    tune_gc()
    return app


def create_application_or_exit() -> "FastAPI":
    """The app of one of several processes. A process that cannot start is not restarted forever."""
    from uvicorn.config import STARTUP_FAILURE

    from service.settings import InvalidSettings

    try:
        return create_application()
    except InvalidSettings as exc:
        with contextlib.suppress(OSError, AttributeError):  # nobody reads it, or there is none
            sys.stderr.write(f"{exc}\n")
        sys.exit(STARTUP_FAILURE)
