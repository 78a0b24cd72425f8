"""Invisible characters, and the places where they have a meaning."""

import unicodedata
from collections.abc import Iterable

JOINERS = frozenset("\u200c\u200d")
FILLERS = frozenset("\u034f\u115f\u1160\u2800\u3164\uffa0")  # letters, marks and symbols that show nothing
VIRAMA = 9  # the combining class of the signs that join two Indic letters

# Scripts whose letters join as in Arabic, but that do not have its bidirectional class.
CURSIVE = ("ADLAM", "MANDAIC", "MONGOLIAN", "NKO", "PHAGS-PA")


def joiners_are_valid(text: str) -> bool:
    """Whether every zero-width joiner and non-joiner is where a script needs one: beside a virama, or
    between letters of a cursive script (RFC 5892, appendices A.1 and A.2)."""
    return all(
        _joins(text[:position], text[position + 1 :])
        for position, character in enumerate(text)
        if character in JOINERS
    )


def _joins(before: str, after: str) -> bool:
    # Malayalam ends words with a virama and a joiner; Bengali and Kannada write the joiner first.
    if _is_virama(before[-1:]) or (_is_virama(after[:1]) and before[-1:].isalpha()):
        return True
    return _is_cursive(_first_letter(reversed(before))) and _is_cursive(_first_letter(after))


def _is_virama(character: str) -> bool:
    return bool(character) and unicodedata.combining(character) == VIRAMA


def _first_letter(characters: Iterable[str]) -> str:
    return next((c for c in characters if not unicodedata.category(c).startswith("M")), "")


def _is_cursive(character: str) -> bool:
    if not character.isalpha():
        return False
    arabic = unicodedata.bidirectional(character) == "AL"
    return arabic or unicodedata.name(character, "").startswith(CURSIVE)
