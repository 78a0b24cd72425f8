"""Parses names. A name is stored as typed; `greetable` decides whether a mail repeats it."""

import re
import unicodedata

from service.person.invisible import FILLERS, JOINERS, joiners_are_valid
from service.person.reason import Reason, Rejected

MAX_LENGTH = 100
MAX_MARKS = 4  # on one base letter: no script needs more

LINE_BREAKS = frozenset("\n\r\v\f\x1c\x1d\x1e\x1f\x85\u2028\u2029")
DIRECTION_MARKS = "\u200e\u200f\u061c"  # at the ends of much copied text
EDGES = "".join({c for c in map(chr, range(0x3001)) if c.isspace()} - LINE_BREAKS) + DIRECTION_MARKS
ZERO_WIDTH_SPACES = re.compile("\u200b+")
TYPES_ZERO_WIDTH_SPACES = re.compile("[\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff]")  # Lao, Burmese, Khmer


class InvalidName(Rejected):
    pass


def parse(typed: str) -> str | None:
    """The trimmed name; None if nothing is left of it. Raises InvalidName."""
    if typed.isascii() and typed.isprintable():  # as most do; the rest looks at every character
        name = typed.strip()
        if len(name) > MAX_LENGTH:
            raise InvalidName(Reason.NAME_TOO_LONG)
        return name or None
    name = ZERO_WIDTH_SPACES.sub(_restore_space, typed).strip(EDGES)
    if not name:
        return None
    if len(name) > MAX_LENGTH:
        raise InvalidName(Reason.NAME_TOO_LONG)
    if any(_is_control(character) for character in name):
        raise InvalidName(Reason.NAME_CONTROL_CHARACTERS)
    if not any(_is_visible(character) for character in name):
        raise InvalidName(Reason.NAME_INVISIBLE)
    if any(_is_format(character) for character in name) or not joiners_are_valid(name):
        raise InvalidName(Reason.NAME_INVISIBLE)
    if _count_marks_in_a_row(name) > MAX_MARKS:
        raise InvalidName(Reason.NAME_TOO_MANY_MARKS)
    return name


def _restore_space(spaces: re.Match[str]) -> str:
    """A space, where the script's keyboards have a zero-width one on the space bar."""
    beside = (
        spaces.string[max(spaces.start() - 1, 0) : spaces.start()]
        + spaces.string[spaces.end() : spaces.end() + 1]
    )
    return " " if TYPES_ZERO_WIDTH_SPACES.search(beside) else spaces[0]


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _is_visible(character: str) -> bool:
    return unicodedata.category(character)[0] not in "CZM" and character not in FILLERS


def _is_format(character: str) -> bool:
    """Bidi overrides, zero-width spaces, tags: whatever changes how the rest is shown."""
    return unicodedata.category(character) == "Cf" and character not in JOINERS


def _count_marks_in_a_row(name: str) -> int:
    most = run = 0
    for character in name:
        run = run + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        most = max(most, run)
    return most
