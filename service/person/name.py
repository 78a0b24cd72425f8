"""Parses names. A name is stored as typed; `greetable` decides whether a mail repeats it."""

import unicodedata

from service.person.invisible import FILLERS, JOINERS, joiners_are_valid

MAX_LENGTH = 100
MAX_MARKS = 4  # on one base letter: no script needs more


class InvalidName(ValueError):
    """The text is a sentence for people. It never repeats the input."""


def parse(typed: str) -> str:
    """The trimmed name. Raises InvalidName."""
    name = typed.strip()
    if len(name) > MAX_LENGTH:
        raise InvalidName(f"A name has at most {MAX_LENGTH} characters.")
    if name and typed.isascii() and typed.isprintable():
        return name  # true of most names; the checks below look at every character
    if any(_is_control(character) for character in typed):
        raise InvalidName("A name has no control characters or line breaks.")
    if not any(_is_visible(character) for character in name):
        raise InvalidName("A name needs at least one visible character; leave it out if there is none.")
    if any(_is_format(character) for character in name) or not joiners_are_valid(name):
        raise InvalidName("This name has invisible characters.")
    if _most_marks(name) > MAX_MARKS:
        raise InvalidName("This name has too many marks on one letter.")
    return name


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _is_visible(character: str) -> bool:
    return unicodedata.category(character)[0] not in "CZM" and character not in FILLERS


def _is_format(character: str) -> bool:
    """Bidi overrides, zero-width spaces, tags: characters that change how the others are shown."""
    return unicodedata.category(character) == "Cf" and character not in JOINERS


def _most_marks(name: str) -> int:
    most = run = 0
    for character in name:
        run = run + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        most = max(most, run)
    return most
