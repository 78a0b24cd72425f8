"""The language that a request asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.templating.languages import choose_language

OFFERED = frozenset({"en", "de", "pt-BR", "zh-Hant"})


@pytest.mark.parametrize(
    ("wish", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("DE", "de"),
        ("de_DE", "de"),
        ("fr_FR, pt_BR;q=0.8", "pt-BR"),
        ("de-AT", "de"),
        ("de-AT-1996", "de"),
        ("pt-br", "pt-BR"),
        ("pt", "en"),
        ("zh-Hant-TW", "zh-Hant"),
        ("zh-TW", "en"),
        ("fr, de", "de"),
        ("fr;q=1, de;q=0.1", "de"),
        ("en, de", "en"),
        ("en;q=0.5, de;q=0.8", "de"),
        ("en-US,en;q=0.9,de;q=0.8", "en"),
        ("de;q=0", "en"),
        ("de ; q = 0.3 , fr", "de"),
        ("de;level=1", "de"),
        ("de;q=much", "en"),
        ("de;q=nan", "en"),
        ("*", "en"),
        ("*, de;q=0.5", "de"),
        ("dex", "en"),
        ("-", "en"),
        (",,;;,", "en"),
        ("x" * 100_000 + ", de", "en"),
    ],
)
def test_the_best_of_those_offered(wish: str, language: str) -> None:
    assert choose_language(wish, OFFERED) == language


@given(wish=st.text() | st.text("deEN-*;q=01., ", max_size=40))
def test_any_header_gives_a_language_that_is_offered(wish: str) -> None:
    assert choose_language(wish, OFFERED) in OFFERED
