"""Decides which names a mail may contain. Users with any other name are greeted without it.

Spammers put links into the name field of signup forms, so that the welcome mail carries them. Escaping
does not help, because mail programs turn bare text into links. So a mail repeats only what looks like a
person's name. The name is stored as typed in any case.
"""

import re
import unicodedata
from collections.abc import Sequence

from service.person.invisible import joiners_are_valid
from service.person.word_lists import EVERYDAY, PARTICLES, SPOKEN_STOPS, TELLTALE_PARTS, TELLTALES, fold
from service.person.word_shapes import APOSTROPHES, EASTERN_DOTS, HYPHENS, is_name_like

MAX_LENGTH = 60
MAX_WORDS = 6  # besides particles: many a name has as many of those again
MAX_DIGITS = 2
MAX_COMMAS = 2
MAX_SHOUTED = 4  # words in capitals: many people write their names so
MAX_SMALL = 4  # words of a name that has no capitals at all

A_LETTER = re.compile(r"[^\W\d_]")
BREAKS = re.compile(r"[^\S \u00a0\u3000]")  # white space other than spaces
SEPARATORS = re.compile(rf"[{HYPHENS}{APOSTROPHES}{EASTERN_DOTS}·.,\s]+")
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
TELLTALE_PART = re.compile("|".join(["www", "http", "hxxp", "xn--", *sorted(TELLTALE_PARTS)]))
REPEATED = re.compile(r"(.)\1{3}", re.IGNORECASE)
HAN_NUMBER = re.compile(r"(?:[零一二三四五六七八九]\s?){5}")
HOUSE_NUMBER = re.compile(r"\d+\s.*\s")  # before a street and a town; no name of three words begins so
ROMAN_NUMBER = re.compile("[IVX]+")


def is_greetable(name: str) -> bool:
    """Whether a mail may repeat the name as it is."""
    words = unicodedata.normalize("NFC", name).split()
    names = [word for word in words if not _is_particle(word)]
    return (
        len(name) <= MAX_LENGTH
        and len(names) <= MAX_WORDS
        and A_LETTER.search(name) is not None
        and BREAKS.search(name) is None
        and all(is_name_like(word) for word in words)
        and joiners_are_valid(name)
        and not _enumerates(name)
        and not _shouts(names)
        and not _is_cased_as_a_sentence(names)
        and not _advertises(name)
    )


def _enumerates(name: str) -> bool:
    """Finds phone numbers, lists, and one character over and over."""
    return (
        sum(map(str.isdecimal, name)) > MAX_DIGITS
        or name.count(",") > MAX_COMMAS
        or name.endswith(",")
        or REPEATED.search(name) is not None
        or HAN_NUMBER.search(name) is not None
        or HOUSE_NUMBER.match(name) is not None
    )


def _shouts(names: Sequence[str]) -> bool:
    shouted = [
        name
        for name in names
        if name.isupper() and len(name) > 1 and "." not in name and not ROMAN_NUMBER.fullmatch(name)
    ]
    return len(shouted) > MAX_SHOUTED


def _is_cased_as_a_sentence(names: Sequence[str]) -> bool:
    """A sentence begins with a capital and continues in lower case. In a name only particles are lower case,
    or one word by mistake, or all words."""
    cased = [name for name in names if _has_case(name) and "." not in name]
    small = [name for name in cased if name == name.lower()]
    return len(small) > (MAX_SMALL if small == cased else 1)


def _has_case(word: str) -> bool:
    return word.title() != word.lower()  # Georgian has capitals, but no name begins with one


def _is_particle(word: str) -> bool:
    return fold(word).strip(APOSTROPHES) in PARTICLES


def _advertises(name: str) -> bool:
    text = fold(name)
    words, parts = SEPARATORS.split(text), SEPARATORS.split(fold(CAMEL.sub(" ", name)))
    said = {*words, *parts}
    return (
        not said.isdisjoint(TELLTALES)
        or len(said & EVERYDAY) > 1
        or not SPOKEN_STOPS.isdisjoint({*words[1:-1], *parts[1:-1]})
        or TELLTALE_PART.search(text) is not None
    )
