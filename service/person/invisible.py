"""Characters that show nothing, and where they have a meaning nevertheless."""

import unicodedata
from collections.abc import Iterable

JOINER, NON_JOINER = "\u200d", "\u200c"
VOWEL_SEPARATOR = "\u180e"  # sets off the last vowel of a Mongolian word
JOINERS = frozenset({JOINER, NON_JOINER, VOWEL_SEPARATOR})
FILLERS = frozenset("\u034f\u115f\u1160\u2800\u3164\uffa0")  # letters, marks and symbols that show nothing
VIRAMA = 9  # the combining class of the signs that join two Indic letters

# Scripts whose letters join as in Arabic, but that do not have its bidirectional class.
CURSIVE = ("ADLAM", "MANDAIC", "MONGOLIAN", "NKO", "PHAGS-PA")


def joiners_are_valid(text: str) -> bool:
    """Whether every joiner, non-joiner and vowel separator is where a script needs one: beside a virama,
    between letters of a cursive script (RFC 5892, appendices A.1 and A.2), or between two emoji."""
    return all(
        _joins(character, text[:position], text[position + 1 :])
        for position, character in enumerate(text)
        if character in JOINERS
    )


def _joins(joiner: str, before: str, after: str) -> bool:
    first, second = _last_letter(before), _first_letter(after)
    if joiner == VOWEL_SEPARATOR:
        return _is_mongolian(first) and _is_mongolian(second)
    if joiner == JOINER and _is_emoji(first) and _is_emoji(after[:1]):
        return True
    # Malayalam ends words with a virama and a joiner; Bengali and Kannada write the joiner first.
    if _is_virama(before[-1:]) or (_is_virama(after[:1]) and before[-1:].isalpha()):
        return True
    return _is_cursive(first) and _is_cursive(second)


def _is_virama(character: str) -> bool:
    return bool(character) and unicodedata.combining(character) == VIRAMA


def _first_letter(text: Iterable[str]) -> str:
    """Or symbol, without the marks and skin tones that belong to it."""
    return next((c for c in text if unicodedata.category(c) not in ("Mn", "Mc", "Me", "Sk")), "")


def _last_letter(text: str) -> str:
    return _first_letter(reversed(text))


def _is_emoji(character: str) -> bool:
    return bool(character) and unicodedata.category(character) == "So"


def _is_mongolian(character: str) -> bool:
    return unicodedata.name(character, "").startswith("MONGOLIAN") if character else False


def _is_cursive(character: str) -> bool:
    if not character.isalpha():  # nothing at all included
        return False
    arabic = unicodedata.bidirectional(character) == "AL"
    return arabic or unicodedata.name(character, "").startswith(CURSIVE)
