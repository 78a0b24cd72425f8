"""Which names a mail may say. The rest are greeted without one.

A signup form's name field is how a welcome mail is made to carry somebody else's link. Escaping
does not help, because mail programs turn bare text into links; so only what looks like a person's
name is repeated. The name is stored as typed either way.
"""

import re
import unicodedata

MAX_LENGTH = 60
MAX_WORDS = 6

PUNCTUATION = set(".'’ʻ·・-‑, ")  # noqa: RUF001  # each of these stands in somebody's name
JOINERS = {"\u200c", "\u200d"}  # stand between letters in Persian, Sinhala, …; the address form checks where
TITLES = frozenset(
    (
        "dr mr mrs ms mx prof st jr sr rev hon fr br sgt capt lt col gen eng ing dipl mag univ phd ph md esq"
    ).split()
)
DIGITS_IN_A_ROW = re.compile(r"\d{3}")
LINKISH = re.compile(r"www|http|ftp|mailto|xn--", re.IGNORECASE)


def greets(name: str) -> bool:
    """Whether the name is one that a mail may repeat word for word."""
    return (
        len(name) <= MAX_LENGTH
        and 1 <= len(name.split()) <= MAX_WORDS
        and all(_belongs(character) for character in name)
        and any(unicodedata.category(character).startswith("L") for character in name)
        and not DIGITS_IN_A_ROW.search(name)
        and not LINKISH.search(name)
        and not _shouts(name)
        and all(_full_stops_abbreviate(word) for word in name.replace("-", " ").split())
    )


def _belongs(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in "LM" or category == "Nd" or character in PUNCTUATION or character in JOINERS


def _full_stops_abbreviate(word: str) -> bool:
    """A full stop ends an initial or a title; before a run of letters it would make a host name."""
    parts = word.strip(",").split(".")
    if len(parts) == 1:
        return True
    *before, last = parts
    abbreviated = all(_letters(part) == 1 or part.lower() in TITLES for part in before)
    return abbreviated and _letters(last) <= 1


def _letters(part: str) -> int:
    return sum(not unicodedata.category(character).startswith("M") for character in part)


def _shouts(name: str) -> bool:
    words = [word for word in name.split() if len(word) > 1 and word.isupper()]
    return len(words) > 3  # noqa: PLR2004  # two or three capitalised words are how many people write theirs
