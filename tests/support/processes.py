"""The service as real processes, to be signalled and killed."""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import httpx

from tests.support.eventually import eventually
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]


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
        self._stderr = stderr  # a descriptor; without one it goes to a file
        self._environment = {name: str(value) for name, value in environment.items()}
        self._process: asyncio.subprocess.Process | None = None
        self.port = int(self._environment.setdefault("PORT", str(free_port())))
        self.url = f"http://127.0.0.1:{self.port}"

    async def start(self) -> Self:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **self._environment}
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "stderr").open("ab") as stderr:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "service", *self._command),
                env=environment,
                cwd=self._folder,
                stdout=stderr,
                stderr=stderr if self._stderr is None else self._stderr,
                preexec_fn=self._limit if self._files else None,
            )
        return self

    def _limit(self) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._files or 0, self._files or 0))

    async def ready(self, *, path: str = "/healthz", within: float = 20) -> Self:
        async def answers() -> bool:
            assert self.alive, self.log
            try:
                async with httpx.AsyncClient() as client:
                    return (await client.get(self.url + path)).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(answers, within=within)
        return self

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def log(self) -> str:
        return (self._folder / "stderr").read_text()

    def signal(self, number: int) -> None:
        if self.alive:
            assert self._process
            self._process.send_signal(number)

    async def ended(self, *, within: float = 35) -> int:
        assert self._process
        async with asyncio.timeout(within):
            return await self._process.wait()

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.ended()

    async def stop(self) -> None:
        """For a test's end: whatever still runs."""
        if self.alive:
            await self.kill()
