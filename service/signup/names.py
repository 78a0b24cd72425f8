"""What a name may be. It is stored as typed; what a mail says of it is decided in `welcome.greeting`."""

import unicodedata

MAX_LENGTH = 100
MAX_MARKS = 4  # on one base letter; real scripts stay below

JOINERS = {"\u200c", "\u200d"}
BLANK = {"\u3164", "\u115f", "\u1160", "\uffa0", "\u2800"}  # letters that show nothing
VIRAMA = 9  # the combining class after which a joiner has a meaning (RFC 5892, appendix A)


class NotAName(ValueError):
    """The reason is a sentence for people; it repeats nothing of the input."""


def parse(typed: str) -> str:
    """The trimmed name. Raises NotAName."""
    name = typed.strip()
    if any(_is_control(character) for character in typed):
        raise NotAName("A name has no control characters or line breaks.")
    if not any(_is_visible(character) for character in name):
        raise NotAName("A name needs at least one visible character; leave it out if there is none.")
    if len(name) > MAX_LENGTH:
        raise NotAName(f"A name has at most {MAX_LENGTH} characters.")
    if not _joiners_join(name):
        raise NotAName("This name has invisible characters.")
    if _most_marks(name) > MAX_MARKS:
        raise NotAName("This name has too many marks on one letter.")
    return name


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _is_visible(character: str) -> bool:
    return unicodedata.category(character)[0] not in "CZM" and character not in BLANK


def _joiners_join(name: str) -> bool:
    """No format characters (bidi overrides, zero-width spaces, tags), but the joiners between letters
    of scripts that join: Persian and Indic names need them."""
    for position, character in enumerate(name):
        if unicodedata.category(character) != "Cf":
            continue
        if character not in JOINERS or not 0 < position < len(name) - 1:
            return False
        before, after = name[position - 1], name[position + 1]
        if not (_joins(before) and (_joins(after) or unicodedata.category(after)[0] == "M")):
            return False
    return True


def _joins(character: str) -> bool:
    if unicodedata.combining(character) == VIRAMA:
        return True
    return unicodedata.bidirectional(character) == "AL" or unicodedata.name(character, "").startswith(
        ("MONGOLIAN", "SYRIAC", "NKO", "MANDAIC", "PHAGS-PA", "ADLAM")
    )


def _most_marks(name: str) -> int:
    most = run = 0
    for character in name:
        run = run + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        most = max(most, run)
    return most
