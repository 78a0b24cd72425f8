"""The service as real processes, to be signalled and killed."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Self

import httpx

from tests.support.eventually import eventually
from tests.support.forks import Descriptor, fork
from tests.support.ports import free_port


class Process:
    """One `python -m service COMMAND`, with nothing in its environment but what it is given."""

    def __init__(
        self,
        *command: str,
        folder: Path,
        environment: Mapping[str, object],
        files: int | None = None,
        stderr: int | None = None,
        constants: Mapping[str, object] | None = None,
    ) -> None:
        self._command = command
        self._folder = folder
        self._files = files  # how many it may open
        self._constants = constants  # see `fork`
        self._stderr = None if stderr is None else Descriptor(stderr)  # without one it goes to a file
        self._environment = {name: str(value) for name, value in environment.items()}
        self._process: ForkServerProcess | None = None
        self.port = int(self._environment.setdefault("PORT", str(free_port())))
        self.url = f"http://127.0.0.1:{self.port}"

    async def start(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        log = self._folder / "stderr"
        self._process = await asyncio.to_thread(  # the first one waits for the imports
            fork,
            self._command,
            folder=self._folder,
            environment={"PATH": os.environ["PATH"], **self._environment},
            stdout=log,
            stderr=self._stderr or log,
            files=self._files,
            constants=self._constants,
        )
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
        file = self._folder / "stderr"
        return file.read_text() if file.exists() else ""  # the process creates it

    def signal(self, number: int) -> None:
        if self.alive:
            os.kill(self.pid, number)

    async def ended(self, *, within: float = 35) -> int:
        assert self._process
        await asyncio.to_thread(self._process.join, within)
        if self._process.exitcode is None:
            raise TimeoutError(f"still there after {within} s")
        return self._process.exitcode

    async def ended_by_sigterm(self, *, within: float = 10) -> int:
        """Sends it again and again: a process that was starved takes the second for the first."""
        for _ in range(round(within / 0.5)):
            self.signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                return await self.ended(within=0.5)
        raise TimeoutError(f"still there after {within} s")

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.ended()

    async def stop(self) -> None:
        """For a test's end: whatever still runs."""
        if self.alive:
            await self.kill()
