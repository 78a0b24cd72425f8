"""The shapes that a word of a name can have, in any script. All others are refused."""

# ruff: noqa: RUF001  # this module is about look-alikes

import re
import unicodedata
from functools import lru_cache

from service.person.invisible import FILLERS, JOINERS
from service.person.word_lists import ABBREVIATIONS, PARTICLES, fold

MAX_LETTERS = 36  # in a row; a Hawaiian name has 35
MAX_EASTERN_LETTERS = 12  # in scripts whose sentences have no spaces

APOSTROPHES = "'’‘ʼ"
HYPHENS = "-‐‑–־֊"
SHAD = "།"  # ends what is written in Tibetan, a name too
EASTERN_DOTS = "・‧゠＝"  # between the parts of a foreign name

# What a character means for the shape of a word, where its Unicode category does not say so.
KINDS = (
    dict.fromkeys(APOSTROPHES, "'")
    | dict.fromkeys("`´′", "`")  # typed instead of an apostrophe, inside a word
    | dict.fromkeys(HYPHENS, "-")
    | dict.fromkeys("·" + EASTERN_DOTS, "·")
    | dict.fromkeys("་༌׳״", "L")  # part of the spelling in Tibetan and Hebrew
    | dict.fromkeys(JOINERS, "m")
    | dict.fromkeys("ꞏꓸ", "?")  # dots that Unicode counts as letters
    | dict.fromkeys(FILLERS, "?")
    | {".": ".", ",": ",", SHAD: SHAD}
)
CATEGORIES = {"Lu": "L", "Ll": "L", "Lt": "L", "Lm": "L", "Lo": "L", "Mn": "m", "Mc": "m", "Nd": "D"}

# No run of letters may follow a period: that could be a host name.
LETTER = "(?:Lm{0,4})"
RUN = f"'?{LETTER}+(?:['`]{LETTER}+)*'?"
INITIALS = rf"(?:{LETTER}\.)+{LETTER}?|{LETTER}{LETTER}\."
NUMBER = r"D{1,2}(?:LL)?\.?"  # "Jennifer 8. Lee", "3rd", "A-12"
PART = f"(?:{RUN}|{INITIALS}|{NUMBER})"
WORD = re.compile(f"{PART}(?:[-·]{PART})*[,{SHAD}]?")
HYPHEN = re.compile(f"[{HYPHENS}]")
JOINTS = re.compile(f"[{HYPHENS}{EASTERN_DOTS}·]")
LATIN_INITIAL = re.compile("(?<=・)[A-Z](?=・)")  # ジョン・F・ケネディ
ABBREVIATION = re.compile(rf"(?:^|(?<=[{HYPHENS}]))[^\W\d_]+(?=\.)")

# Letters that imitate others; their decomposition or their name gives them away.
STYLES = ("<font>", "<wide>", "<super>", "<sub>")
DISGUISES = ("SMALL CAPITAL", "LATIN SMALL LETTER TURNED")

NEUTRAL = frozenset("0123456789ʰʲʷʹʺʻʼʽʾʿˀˁªº")  # appear in words of any script
EASTERN = ("BOPOMOFO", "CJK", "HALFWIDTH", "HANGUL", "HIRAGANA", "IDEOGRAPHIC", "KATAKANA", "VARIATION")


@lru_cache(maxsize=4096)
def is_name_like(word: str) -> bool:
    """Takes a word in normal form C."""
    if fold(word) in PARTICLES:
        return True
    shape = "".join(_kind(character) for character in ABBREVIATION.sub(_replace_with_letter, word))
    return (
        WORD.fullmatch(shape) is not None
        and all(_is_of_one_script(part) for part in HYPHEN.split(word))
        and not any(_is_too_long(letters) for letters in JOINTS.split(word))
        and not _has_small_letter_after_dot(word)
    )


@lru_cache(maxsize=4096)
def _kind(character: str) -> str:
    if kind := KINDS.get(character):
        return kind
    if character not in NEUTRAL and unicodedata.decomposition(character).startswith(STYLES):
        return "?"
    if any(disguise in unicodedata.name(character, "") for disguise in DISGUISES):
        return "?"
    return CATEGORIES.get(unicodedata.category(character), "?")


def _replace_with_letter(abbreviation: re.Match[str]) -> str:
    return "A" if fold(abbreviation[0]) in ABBREVIATIONS else abbreviation[0]


def _is_of_one_script(part: str) -> bool:
    """Letters of another script could pass for Latin letters, or for periods."""
    return len({_script(character) for character in LATIN_INITIAL.sub("", part)} - {""}) <= 1


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    """The name of the character's script; empty for characters that appear in words of any script."""
    if character in EASTERN_DOTS:
        return "EASTERN"
    if character in NEUTRAL or character in JOINERS or _kind(character) not in ("L", "m", "D", SHAD):
        return ""
    script = re.split("[ -]", unicodedata.name(character, "?"))[0]
    return "EASTERN" if script in EASTERN else script.replace("COMBINING", "")


def _is_too_long(letters: str) -> bool:
    most = MAX_EASTERN_LETTERS if _script(letters[:1]) == "EASTERN" else MAX_LETTERS
    return sum(_kind(character) == "L" for character in letters) > most


def _has_small_letter_after_dot(word: str) -> bool:
    """After a middle dot a new name begins, with a capital, except in the Catalan "l·l"."""
    triples = zip(word, word[1:], word[2:], strict=False)
    return any(
        dot == "·" and after.islower() and (before + after).lower() != "ll" for before, dot, after in triples
    )
