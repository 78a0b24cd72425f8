"""The service as real processes, to be signalled and killed."""

import asyncio
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
from typing import Any, Self

import httpx
import pytest

from tests.support.eventually import eventually
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]


@cache
def forks() -> ForkServerContext:
    """Makes processes that have imported the service: each of hundreds would take a second for it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["service.app", "service.cli.main", "uvicorn.main", __name__])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        forkserver.ensure_running()
    return context


class Process:
    """One `python -m service COMMAND`, with nothing in its environment but what it is given."""

    def __init__(
        self,
        *command: str,
        folder: Path,
        environment: Mapping[str, object],
        files: int | None = None,
        stderr: int | None = None,
    ) -> None:
        self._command = command
        self._folder = folder
        self._files = files  # how many it may open
        self._stderr = None if stderr is None else _Descriptor(stderr)  # without one it goes to a file
        self._environment = {name: str(value) for name, value in environment.items()}
        self._process: ForkServerProcess | None = None
        self.port = int(self._environment.setdefault("PORT", str(free_port())))
        self.url = f"http://127.0.0.1:{self.port}"

    async def start(self) -> Self:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **self._environment}
        self._folder.mkdir(parents=True, exist_ok=True)
        self._process = forks().Process(
            target=_run,
            args=(self._command, self._folder, environment, self._files, self._stderr),
        )
        await asyncio.to_thread(self._process.start)  # the first one waits for the imports
        return self

    async def ready(self, *, path: str = "/healthz", within: float = 30) -> Self:
        async def answers() -> bool:
            assert self.alive, self.log
            try:
                return (await client.get(self.url + path)).status_code == 200
            except httpx.TransportError:
                return False

        async with httpx.AsyncClient(verify=False) as client:  # noqa: S501  # no TLS: its setup takes longer than all else
            await eventually(answers, within=within)
        return self

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.is_alive()

    @property
    def pid(self) -> int:
        assert self._process
        assert self._process.pid
        return self._process.pid

    @property
    def log(self) -> str:
        return (self._folder / "stderr").read_text()

    def signal(self, number: int) -> None:
        if self.alive:
            os.kill(self.pid, number)

    async def ended(self, *, within: float = 35) -> int:
        assert self._process
        await asyncio.to_thread(self._process.join, within)
        if self._process.exitcode is None:
            raise TimeoutError(f"still there after {within} s")
        return self._process.exitcode

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.ended()

    async def stop(self) -> None:
        """For a test's end: whatever still runs."""
        if self.alive:
            await self.kill()


class _Descriptor:
    """A file descriptor that is passed on to a forked process."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _receive, (reduction.DupFd(self.number),)


def _receive(duplicate: Any) -> _Descriptor:
    return _Descriptor(duplicate.detach())


def _run(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    files: int | None,
    stderr: _Descriptor | None,
) -> None:
    """In the forked process."""
    log = os.open(folder / "stderr", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for ours, theirs in (
        (os.open(os.devnull, os.O_RDONLY), 0),
        (log, 1),
        (stderr.number if stderr else log, 2),
    ):
        os.dup2(ours, theirs)
    sys.stdin = os.fdopen(0)  # multiprocessing has put another there, and uvicorn hands its own on
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    sys.argv[1:] = command
    runpy.run_module("service", run_name="__main__", alter_sys=True)
