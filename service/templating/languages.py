"""Chooses the language that a request asks for."""

from collections.abc import Iterator
from functools import lru_cache

DEFAULT = "en"  # the language of templates without a language in their name
MAX_HEADER_LENGTH = 500  # characters of the header that are read; browsers send less than 100

# As in file names: de, pt-BR.
TAG = r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*"


def choose_language(accept_language: str, offered: frozenset[str]) -> str:
    """One of the offered languages, or DEFAULT: RFC 4647, section 3.4, by the weights of RFC 9110."""
    return _choose_language(accept_language[:MAX_HEADER_LENGTH], offered)


@lru_cache(maxsize=1024)
def _choose_language(accept_language: str, offered: frozenset[str]) -> str:
    by_lower = {tag.lower(): tag for tag in offered}
    for wish in _sort_by_preference(accept_language.replace("_", "-")):  # many programs write de_DE
        while wish:
            if wish in by_lower:
                return by_lower[wish]
            wish = wish.rpartition("-")[0]  # de-AT, then de
    return DEFAULT


def _sort_by_preference(accept_language: str) -> Iterator[str]:
    weighed = [_parse_weight(part) for part in accept_language.lower().split(",")]
    for weight, tag in sorted(weighed, key=lambda pair: -pair[0]):  # stable: equals stay in order
        if weight > 0:
            yield tag


def _parse_weight(part: str) -> tuple[float, str]:
    tag, _, parameter = (each.strip() for each in part.partition(";"))
    name, _, value = parameter.partition("=")
    if not parameter:
        return 1.0, tag
    try:
        return (float(value) if name.strip() == "q" else 1.0), tag
    except ValueError:
        return 0.0, tag
