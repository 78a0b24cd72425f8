"""Processes of the service, forked from one that has imported it: for each that would take a second."""

import multiprocessing
import os
import resource
import runpy
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing import forkserver, reduction
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import be_patient, is_patient

ROOT = Path(__file__).parents[2]
WRITE = os.O_WRONLY | os.O_APPEND | os.O_CREAT


class Descriptor:
    """An open file that is passed on to a forked process."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _receive, (reduction.DupFd(self.number),)


def _receive(duplicate: Any) -> Descriptor:
    return Descriptor(duplicate.detach())


def fork(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, object],
    stdin: Path = Path(os.devnull),
    stdout: Path,
    stderr: Path | Descriptor,
    files: int | None = None,
    constants: Mapping[str, object] | None = None,
) -> ForkServerProcess:
    """`python -m service COMMAND`, or `python -c PROGRAM`, with that environment alone. `files` is how many
    it may open; `constants` of the service, by their whole names, have other values in it."""
    process = _server().Process(
        target=_run,
        args=(
            command,
            folder,
            {"PYTHONPATH": ROOT, **environment},
            (stdin, stdout, stderr),
            files,
            constants or {},
            is_patient(),
        ),
    )
    process.start()
    return process


@cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["service.app", "service.cli.main", "uvicorn.main", __name__, "tests.support.warm"]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT}")
        forkserver.ensure_running()
    return context


def _run(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, object],
    streams: tuple[Path, Path, Path | Descriptor],
    files: int | None,
    constants: Mapping[str, object],
    patient: bool,
) -> None:
    """In the forked process."""
    # `nohup make test &` ignores both.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    patch = pytest.MonkeyPatch()
    if patient:
        be_patient(patch)
    for name, value in constants.items():
        patch.setattr(name, value)
    for number, (stream, flags) in enumerate(zip(streams, (os.O_RDONLY, WRITE, WRITE), strict=True)):
        os.dup2(os.open(stream, flags, 0o644) if isinstance(stream, Path) else stream.number, number)
    sys.stdin = os.fdopen(0)  # multiprocessing has put another there, and uvicorn hands its own on
    os.chdir(folder)
    os.environ.clear()
    os.environ.update({name: str(value) for name, value in environment.items()})
    if files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    match command:
        case "-c", program:
            exec(program, {"__name__": "__main__"})  # noqa: S102  # as Python's option does
        case _:
            sys.argv[1:] = command
            runpy.run_module("service", run_name="__main__", alter_sys=True)
