"""Names that are one slip of the fingers apart."""

from collections.abc import Iterable


def find_near_miss(name: str, known: Iterable[str]) -> str | None:
    """The known name that differs by one letter added, left out or replaced, or by two neighbors swapped."""
    return next((other for other in known if _is_one_slip_apart(name, other)), None)


def _is_one_slip_apart(one: str, other: str) -> bool:
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    start = _common_prefix(one, other)
    one, other = one[start:], other[start:]
    end = _common_prefix(one[::-1], other[::-1])
    rest = one[: len(one) - end], other[: len(other) - end]
    return max(map(len, rest)) == 1 or (len(rest[0]) == 2 and rest[0] == rest[1][::-1])  # noqa: PLR2004  # two letters that changed places


def _common_prefix(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
