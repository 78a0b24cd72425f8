"""What cannot be written is dropped. What the service does without its log, `tests/faults` shows."""

import fcntl
import os
import time
from pathlib import Path

import pytest

from service.observability.log_stream import LogStream
from tests.support.unwritable import PAGE, UNWRITABLE, Unwritable


@UNWRITABLE
def test_a_line_that_cannot_be_written_is_dropped(standard_error: Unwritable) -> None:
    with standard_error() as descriptor, os.fdopen(os.dup(descriptor), "w") as stream:
        log = LogStream(stream)
        began = time.monotonic()

        for _ in range(100):
            log.write("a line\n")
            log.flush()

        assert time.monotonic() - began < 10


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
