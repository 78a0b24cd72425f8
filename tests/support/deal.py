"""The order of the tests for several workers, which get equal parts of it and take over from others' ends."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Test = TypeVar("Test")


def deal(tests: Sequence[Test], is_long: Callable[[Test], bool], *, workers: int) -> list[Test]:
    """Each part begins with a share of the long tests: at the end all take over short ones, and none is alone
    with a long one."""
    long = [test for test in tests if is_long(test)]
    short = [test for test in tests if not is_long(test)]
    shares = zip(_split(long, workers), _split(short, workers), strict=True)
    return [test for share in shares for part in share for test in part]


def _split(tests: Sequence[Test], parts: int) -> Iterator[Sequence[Test]]:
    for part in range(parts):
        yield tests[len(tests) * part // parts : len(tests) * (part + 1) // parts]
