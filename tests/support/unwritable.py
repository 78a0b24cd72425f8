"""Standard errors that cannot be written, for tests of what the service does without its log."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

PAGE = 4096  # bytes: the smallest pipe
Unwritable = Callable[[], AbstractContextManager[int]]


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
