"""What a name can do to the mail that somebody else reads."""

import pytest

from tests.inputs.live import Live
from tests.inputs.requests import fresh, post

HEADERS = {
    *("From", "Subject", "Auto-Submitted", "X-Auto-Response-Suppress", "MIME-Version", "Content-Type"),
    *("To", "Date", "Message-ID"),
}
GREETED = [
    *("O'Neil", "D’Arcy", "J.R.R. Tolkien", "Dr. Martin Luther King Jr.", "Nguyễn Văn A", "محمد بن سلمان"),
    *("田中太郎", "Jean-Luc", "Li·Na", "علی‌رضا", "ශ්‍රීමතී"),
]
NOT_GREETED = [
    None,
    *(
        "Click http://evil.com",
        "evil.com",
        "www.evil.com",
        "evil。com",
        "1.1.1.1",
        "user@evil.com",
        "пример.рф",
    ),
    "=?utf-8?q?evil=2Ecom?=",
    "=?utf-8?q?Bob=0d=0aBcc:_x@y.com=0d=0a=0d=0aBODY?=",
    *("<b>x</b>", "<img src=//evil>", '" onmouseover=', "{{7*7}}", "${7*7}", "{svc.secret}", "%s%n", "$name"),
    *("😀 Bob", "Smith (Bob)", "Bob & Alice", "Your account is suspended", "Call 555 0100", "--=_welcome--"),
]


@pytest.mark.parametrize("name", GREETED)
def test_a_real_name_is_greeted_word_for_word(live: Live, name: str) -> None:
    text, page = mailed(live, name)

    assert text.startswith(f"Hello {name},")
    assert f"Hello {name}," in page.replace("&#39;", "'")


@pytest.mark.parametrize("name", NOT_GREETED)
def test_anything_else_is_stored_as_typed_and_said_nowhere(live: Live, name: str | None) -> None:
    text, page = mailed(live, name)

    assert live.newest_user()["name"] == name
    assert text.startswith("Hello,")
    assert ">Hello,</p>" in page
    assert "49" not in text
    assert "evil" not in text + page


def mailed(live: Live, name: str | None) -> tuple[str, str]:
    """Text and HTML of the mail to whoever signs up with this name."""
    address = fresh()
    live.is_accepted(post({"email": address, "name": name}))
    message = live.mailed_to(address).message
    assert set(message.keys()) == HEADERS
    assert len(message.keys()) == len(HEADERS)
    assert message["Subject"] == "Welcome to Our service"
    text, page = message.iter_parts()
    return text.get_content(), page.get_content()
