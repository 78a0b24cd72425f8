"""Which names are accepted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.person.name import InvalidName, parse
from tests.support.names import REAL_NAMES, cases

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=120)


@pytest.mark.parametrize(
    "name",
    [
        "Ada",
        "Ada Lovelace",
        "A" * 100,
        "O'Neil",
        "محمد بن سلمان",
        "田中太郎",
        "علی‌رضا",
        "عَلِی‌رِضا",
        "ශ්‍රීමතී",
        "മോഹന്‍",
        "മോഹന്‍ലാല്‍",
        "র‍্যাচেল",
        "क्‍षितिज",
        "မြို့",
        "བསྒྲུབས",
        "Zoe\u0308",
        "Nguyê\u0303n",
        "Ada\u00a0Lovelace",
        "😀 Bob",
        "Smith (Bob)",
        "Bob & Alice",
        "Click http://evil.com",
        "=?utf-8?q?Bob=0d=0aBcc:_x@y.com=0d=0a=0d=0aBODY?=",
        "<b>x</b>",
        "{{7*7}}",
        "'; DROP TABLE users; --",
    ],
)
def test_a_name_stays_as_typed(name: str) -> None:
    assert parse(name) == name


@pytest.mark.parametrize("name", cases(REAL_NAMES))
def test_every_name_that_a_mail_may_say_may_be_stored(name: str) -> None:
    assert parse(name) == name


@pytest.mark.parametrize("typed", [" Ada", "Ada ", "  Ada  ", "\u00a0Ada\u3000"])
def test_spaces_around_it_go(typed: str) -> None:
    assert parse(typed) == "Ada"


@pytest.mark.parametrize(
    "typed",
    [
        "a\u0000b",
        "a\u0001b",
        "a\u001bb",
        "a\u007fb",
        "a\u009bb",
        "a\ud800b",
        "\udfff",
        "Bob\r\nBcc: x@y",
        "Bob\nBcc",
        "Bob\rBcc",
        "Bob\n",
        "\nBob",
        "Bob\tBcc",
        "Bob\u2028Bcc",
        "Bob\u2029Bcc",
        "Bob\u0085Bcc",
        "Bob\u000bBcc",
        "Bob\u000cBcc",
        "Bob\u001cBcc",
    ],
)
def test_control_characters_and_line_breaks_are_refused(typed: str) -> None:
    with pytest.raises(InvalidName, match="control characters"):
        parse(typed)


@pytest.mark.parametrize("typed", ["", "   ", "\t", "\u00a0", "\u3000", "\u200e \u200f"])
def test_a_name_with_nothing_in_it_is_none(typed: str) -> None:
    assert parse(typed) is None


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("\u200eAda\u200e", "Ada"),
        ("\u200fعلي\u061c", "علي"),
        ("\tAda \t", "Ada"),
        ("\u00a0Ada\u3000", "Ada"),
        ("សុខ\u200bវណ្ណា", "សុខ វណ្ណា"),
        ("ສຸກ\u200bວັນ\u200b", "ສຸກ ວັນ"),
        ("အောင်\u200b\u200bဆန်း", "အောင် ဆန်း"),
    ],
)
def test_what_a_keyboard_or_a_copy_adds_is_taken_off(typed: str, name: str) -> None:
    assert parse(typed) == name


@pytest.mark.parametrize(
    "typed", ["ᠠᠨᠠ\u180eᠠ", "ᠰᠠᠷᠠᠨ\u180eᠠ", "👩\u200d💻", "👩🏽\u200d🚀", "🏴\u200d☠️", "❤️\u200d🔥 Ada"]
)
def test_what_belongs_to_a_script_or_an_emoji_is_kept(typed: str) -> None:
    assert parse(typed) == typed


@pytest.mark.parametrize(
    "typed",
    [
        "\u200b\u200b",
        "\u200d",
        "\u3164",
        "\u115f\u1160",
        "\uffa0",
        "\u2800",
        "\u0301",
    ],
)
def test_what_shows_nothing_is_no_name(typed: str) -> None:
    with pytest.raises(InvalidName, match="invisible"):
        parse(typed)


@pytest.mark.parametrize(
    "typed",
    [
        "Bo\u202eb",
        "\u202dBob",
        "\u2066Bob\u2069",
        "Bo\u200eb",
        "\u180eBob",
        "Bo\u180eb",
        "على\u180eرضا",
        "Bo\u200bb",
        "Bo\u2060b",
        "Bo\ufeffb",
        "Bo\u00adb",
        "Bob\U000e0041",
        "Bo\u200cb",
        "Bo\u200db",
        "Bob\u200d",
        "\u200cBob",
        "علی\u200c",
        "\u200dعلی",
        "علی\u200c\u200cرضا",
        "علی\u200cBob",
        "क\u200dख",
        "ක\u0dca\u200d\u200dක",
        "1\u200c2",
        "👩\u200dBob",
        "Bob\u200d💻",
        "\u200d💻",
    ],
)
def test_what_hides_or_turns_is_refused(typed: str) -> None:
    with pytest.raises(InvalidName, match="invisible"):
        parse(typed)


@pytest.mark.parametrize(("marks", "accepted"), [(4, True), (5, False), (60, False)])
def test_a_letter_carries_at_most_four_marks(marks: int, accepted: bool) -> None:
    typed = "a" + "\u0301\u0323\u0308\u031b\u0302"[:marks] + "\u0300" * (marks - 5)

    if accepted:
        assert parse(typed) == typed
    else:
        with pytest.raises(InvalidName, match="accents"):
            parse(typed)


@pytest.mark.parametrize("typed", ["a" * 101, "a" * 10_000_000, "田" * 101])
def test_a_name_ends_after_a_hundred_characters(typed: str) -> None:
    with pytest.raises(InvalidName, match="100"):
        parse(typed)


@given(ANY_TEXT)
def test_any_text_is_a_name_or_is_refused(typed: str) -> None:
    try:
        name = parse(typed)
    except InvalidName:
        return

    if name is not None:
        assert name == parse(name)
        assert 1 <= len(name) <= 100
        assert name.encode()
