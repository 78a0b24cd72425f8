"""Any text arrives as it was rendered, and nothing in it can end the part or the message."""

import quopri
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jinja2 import Environment

from service.mail.mime_part import BOUNDARY, MimePart

HEAD = re.compile(
    rb"--=_welcome\r\nContent-Type: text/plain; charset=utf-8\r\n"
    rb"Content-Transfer-Encoding: (7bit|quoted-printable)\r\n\r\n"
)
# Whatever the encoding or the end of a line looks at, and lines of about the length that is broken.
CHARACTERS = st.sampled_from(
    [*"aF\n\n\n .=-\t\r\x0b\x1c\x85\u2028\0é😀\ud800", "x" * 37, "x" * 74, "x" * 997, BOUNDARY]
)
TEXTS = st.lists(CHARACTERS, max_size=20).map("".join)


def render(text: str) -> tuple[str, bytes]:
    """The encoding, and the encoded text."""
    template = Environment().from_string("{{ text }}", globals={"text": text})  # noqa: S701  # plain text
    rendered = MimePart("text/plain", template).render({})
    head = HEAD.match(rendered)
    assert head
    return head[1].decode(), rendered[head.end() :]


@given(TEXTS)
def test_any_text_arrives_with_its_lines(text: str) -> None:
    encoding, encoded = render(text)
    arrived = quopri.decodestring(encoded).decode() if encoding != "7bit" else encoded.decode()

    sent = text.encode("utf-8", "replace").decode()
    assert arrived.replace("\r\n", "\n").removesuffix("\n") == "\n".join(sent.splitlines())


@given(TEXTS)
@example("x" * 74 + " \nAda")
@example("x" * 998)
@example("x" * 999)
def test_every_line_is_printable_ascii_ends_in_crlf_and_is_no_longer_than_its_encoding_allows(
    text: str,
) -> None:
    encoding, encoded = render(text)

    most = {"7bit": 998, "quoted-printable": 76}[encoding]
    assert re.fullmatch(rb"(?:[\t -~]{0,%d}\r\n)*" % most, encoded)


@given(TEXTS)
@example(f"--{BOUNDARY}--")
def test_no_text_contains_the_boundary(text: str) -> None:
    assert BOUNDARY.encode() not in render(text)[1]


@pytest.mark.parametrize("text", ["Hello Ada,\n\n\tI=you.\n.\n", "x" * 998])
def test_short_lines_of_printable_ascii_are_sent_as_they_are(text: str) -> None:
    assert render(text) == ("7bit", "".join(f"{line}\r\n" for line in text.splitlines()).encode())


@pytest.mark.parametrize("text", ["Grüße", "a\0b", "a\x7fb", "a\ud800b", "x" * 999, f"--{BOUNDARY}--"])
def test_all_else_is_quoted(text: str) -> None:
    assert render(text)[0] == "quoted-printable"


@pytest.mark.parametrize("name", ["Ada", None])
def test_the_name_is_rendered(name: str | None) -> None:
    template = Environment().from_string("Hello {{ name }}!")  # noqa: S701  # plain text

    rendered = MimePart("text/plain", template).render({"name": name})

    assert rendered.endswith(f"\r\n\r\nHello {name}!\r\n".encode())
