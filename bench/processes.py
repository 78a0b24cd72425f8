"""Starts each part of a measurement in its own process, without our environment variables."""

import asyncio
import contextlib
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench import load_generator
from bench.load import Answers

ROOT = Path(__file__).parents[1]
START_WITHIN = 30.0  # s
STOP_WITHIN = 5.0  # s; then it is killed, because the rest of its work is not measured
LOOK_EVERY = 0.02  # s


class Broken(Exception):
    """A process failed. The text is the end of its log."""


@dataclass(frozen=True)
class Running:
    process: asyncio.subprocess.Process
    port: int
    log: Path

    async def wait_until_answering(self) -> None:
        """Waits until it answers HTTP, with any status."""
        async with httpx.AsyncClient() as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    await client.get(f"http://127.0.0.1:{self.port}/healthz")
                    return
                await self._look_again()

    async def wait_until_accepting(self) -> None:
        """Waits until it accepts connections."""
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            await self._look_again()

    async def memory(self) -> int:
        """Its resident memory in bytes."""
        asked = await asyncio.create_subprocess_exec(
            *("ps", "-o", "rss=", "-p", str(self.process.pid)), stdout=asyncio.subprocess.PIPE
        )
        kibibytes, _ = await asked.communicate()
        return int(kibibytes) * 1024

    async def _look_again(self) -> None:
        if self.process.returncode is not None:
            raise Broken("\n".join(self.log.read_text().splitlines()[-20:]))
        await asyncio.sleep(LOOK_EVERY)


@asynccontextmanager
async def run_module(
    *module: object, folder: Path, port: int = 0, environment: Mapping[str, object] | None = None
) -> AsyncIterator[Running]:
    """Runs a Python module with its arguments until the end of the block."""
    log = _log(folder, module[0])
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *map(str, module)),
            env=_environment(folder, environment or {}),
            cwd=folder,
            stdout=output,
            stderr=output,
        )
    try:
        yield Running(process, port, log)
    finally:
        await _stop(process)


async def load(port: int, *, seconds: float, folder: Path) -> Answers:
    """Runs the load generator."""
    process = await asyncio.create_subprocess_exec(
        *load_generator.command(port, seconds=seconds),
        env=_environment(folder, {}),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        written, complaint = await process.communicate()
    finally:
        await _stop(process)
    if process.returncode:
        raise Broken(complaint.decode())
    answers = Answers(**json.loads(written.splitlines()[-1]))
    answers.statuses = Counter(answers.statuses)
    return answers


def _log(folder: Path, module: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{module}.log"


def _environment(folder: Path, given: Mapping[str, object]) -> dict[str, str]:
    # TMPDIR, so that no files are left over.
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": ROOT, "TMPDIR": folder}
    return {name: str(value) for name, value in {**own, **given}.items()}


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_WITHIN):
            await process.wait()
            return
    process.kill()
    await process.wait()
