import time
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.inbox import mailhog_json
from service.inbox.mail import CaughtMail

from .mails import WELCOME

FRAGMENTS = (
    b"Subject: ",
    b"=?unicode_escape?q?\\ud800?=",
    b"Content-Type: ",
    b"multipart/mixed; boundary=b",
    b"text/plain; charset=",
    b"utf-7",
    b"idna",
    b"Content-Transfer-Encoding: ",
    b"base64",
    b"x-uuencode",
    b"--b",
    b"\r\n",
    b"\r\n\r\n",
)


def caught(raw: bytes) -> CaughtMail:
    return CaughtMail(
        id="1@inbox.localhost",
        sender="welcome@example.com",
        recipients=("ada@example.com",),
        helo="localhost",
        raw=raw,
        received_at=datetime(2026, 1, 2, tzinfo=UTC),
    )


def test_folded_headers_are_one_line() -> None:
    headers = dict(caught(WELCOME).headers)

    assert headers["To"] == "Ada Lovelace\t<ada@example.com>"


def test_a_header_is_decoded_for_the_reader_and_found_in_any_case() -> None:
    mail = caught(WELCOME)

    assert mail.subject == "Schön, dass du da bist"
    assert mail.header("from") == "Welcome <welcome@example.com>"
    assert mail.header("Cc") == ""


def test_both_parts_are_decoded() -> None:
    mail = caught(WELCOME)

    assert mail.text == "Schön: http://localhost:8000/welcome"
    assert mail.html == "<p>Schön</p>"


def test_a_mail_of_one_part_has_no_other() -> None:
    mail = caught(b"Subject: Hi\r\n\r\nHello\r\n")

    assert (mail.text, mail.html) == ("Hello\r\n", None)


def test_an_attachment_is_not_the_text() -> None:
    mail = caught(b"Content-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nNot me\r\n")

    assert mail.text is None


@pytest.mark.parametrize("charset", ["punycode", "PUNYCODE", "idna"])
def test_no_charset_takes_long(charset: str) -> None:
    begun = time.process_time()
    mail = caught(
        f"Subject: =?{charset}?q?{'a' * 30_000}?=\r\n"
        f"Content-Type: text/plain; charset={charset}\r\n\r\n{'a' * 300_000}".encode()
    )

    assert mail.text == "a" * 300_000
    assert "aaa" in mail.subject
    assert time.process_time() - begun < 1


@pytest.mark.parametrize("charset", ["no-such-charset", "rot13", "idna", "Punycode", "undefined"])
def test_a_charset_that_is_none_is_read_as_utf8(charset: str) -> None:
    mail = caught(f"Content-Type: text/plain; charset={charset}\r\n\r\nSchön".encode())

    assert mail.text == "Schön"


@pytest.mark.parametrize(
    ("subject", "shown"),
    [
        ("=?no-such-charset?q?Hi?=", "=?no-such-charset?q?Hi?="),
        ("=?utf-8?b?a?=", "=?utf-8?b?a?="),
        ("=?unicode_escape?q?\\ud800?=", "?"),
    ],
)
def test_a_broken_subject_is_shown_as_well_as_it_can_be(subject: str, shown: str) -> None:
    assert caught(f"Subject: {subject}\r\n\r\n".encode()).subject == shown


def test_a_mail_nested_too_deep_to_parse_has_its_source_alone() -> None:
    heads = (
        f"Content-Type: multipart/mixed; boundary=b{depth}x\r\n\r\n--b{depth}x\r\n" for depth in range(1_100)
    )

    mail = caught("".join(heads).encode())

    assert (mail.text, mail.html) == (None, None)
    assert mail.source.endswith("--b1099x\r\n")
    assert mailhog_json.message(mail)["MIME"] is not None


@settings(deadline=None)  # the first example includes imports
@given(st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=4), max_size=20).map(b"".join))
def test_whatever_comes_can_be_shown(raw: bytes) -> None:
    mail = caught(raw)

    shown = (
        mail.subject,
        mail.header("To"),
        mail.text,
        mail.html,
        mail.source,
        str(mailhog_json.message(mail)),
    )

    assert all(text is None or text.encode() is not None for text in shown)
