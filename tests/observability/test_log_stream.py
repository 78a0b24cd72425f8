"""Logs decide nothing: what cannot be written is dropped, and the service does as always."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest

from service.database.engine import Database
from service.observability.log_stream import LogStream
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.processes import Process
from tests.support.relay import ScriptedRelay

PAGE = 4096  # bytes: the smallest pipe
Unwritable = Callable[[], AbstractContextManager[int]]
PEOPLE = [f"user{number}@example.com" for number in range(8)]


@contextmanager
def left_by_its_reader() -> Iterator[int]:
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@contextmanager
def on_a_full_disk() -> Iterator[int]:
    writer = os.open("/dev/full", os.O_WRONLY)
    yield writer
    os.close(writer)


@contextmanager
def not_read() -> Iterator[int]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PAGE)
    os.write(writer, b"x" * PAGE)
    yield writer
    os.close(writer)
    os.close(reader)


UNWRITABLE = pytest.mark.parametrize(
    "standard_error", [left_by_its_reader, on_a_full_disk, not_read], ids=lambda each: each.__name__
)


@UNWRITABLE
@pytest.mark.both
async def test_without_a_log_each_mail_is_sent_once_and_recorded(
    standard_error: Unwritable,
    database_url: str,
    database: Database,
    relay: ScriptedRelay,
    tmp_path: Path,
) -> None:
    environment = {
        "DATABASE_URL": database_url,
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": relay.port,
        "LOG_LEVEL": "debug",
    }

    async def all_recorded() -> bool:
        found = await rows(database, "SELECT status FROM outbox")
        return [row["status"] for row in found] == ["sent"] * len(PEOPLE)

    with standard_error() as stderr:
        process = Process("serve", folder=tmp_path / "api", environment=environment, stderr=stderr)
        await (await process.start()).ready()
        try:
            await relay.stop()
            async with httpx.AsyncClient(base_url=process.url) as client:
                for person in PEOPLE:
                    answer = await client.post("/signup", json={"email": person})
                    assert answer.status_code == 201
                await eventually(lambda: _is_paused(client))
                await relay.start()

                await eventually(all_recorded, within=30)

                assert (await client.get("/readyz")).json()["relay"] == "ok"
            assert relay.recipients == dict.fromkeys(PEOPLE, 1)
            process.signal(15)
            assert await process.ended() == 0
        finally:
            await process.stop()


async def _is_paused(client: httpx.AsyncClient) -> bool:
    return str((await client.get("/readyz")).json()["relay"]).startswith("paused")


@UNWRITABLE
def test_a_line_that_cannot_be_written_is_dropped(standard_error: Unwritable) -> None:
    with standard_error() as descriptor, os.fdopen(os.dup(descriptor), "w") as stream:
        log = LogStream(stream)
        began = time.monotonic()

        for _ in range(100):
            log.write("a line\n")
            log.flush()

        assert time.monotonic() - began < 2


def test_a_reader_that_reads_again_has_the_next_line() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PAGE)
    with os.fdopen(reader, "rb", buffering=0) as pipe, os.fdopen(writer, "w") as stream:
        log = LogStream(stream)
        log.write("x" * 10 * PAGE)
        assert pipe.read(PAGE) == b"x" * PAGE

        log.write("the next line\n")

        assert pipe.read(PAGE) == b"the next line\n"


@pytest.mark.parametrize("text", ["verärgert\n", "\udcff of bytes\n"])
def test_any_text_is_written(text: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as stream:
        LogStream(stream).write(text)

    assert path.read_bytes().decode() == text.replace("\udcff", "\\udcff")


def test_without_standard_error_lines_are_dropped() -> None:
    LogStream(None).write("a line\n")
