"""Text can be read, whatever the brand color is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.templating.contrast import DARK, LIGHT, READABLE, contrast, readable_color, text_color_on

COLORS = st.integers(0, 0xFFFFFF).map("#{:06x}".format)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("#000000", "#ffffff", 21),
        ("#ffffff", "#FFFFFF", 1),
        ("#777777", "#ffffff", 4.48),
        ("#0000ff", "#ffffff", 8.59),
        ("#030303", "#000000", 1.02),
    ],
)
def test_contrast_is_wcags(one: str, other: str, expected: float) -> None:
    assert contrast(one, other) == pytest.approx(expected, abs=0.005)


@given(color=COLORS)
def test_any_brand_can_be_read_and_written_on(color: str) -> None:
    assert contrast(text_color_on(color), color) >= READABLE
    for ground in (LIGHT, DARK, "#ffffff"):
        assert contrast(readable_color(color, on=ground), ground) >= READABLE


@pytest.mark.parametrize(("color", "ground"), [("#2563eb", LIGHT), ("#fde047", DARK)])
def test_what_can_be_read_stays(color: str, ground: str) -> None:
    assert readable_color(color, on=ground) == color
