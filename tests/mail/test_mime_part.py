"""Any text arrives as it was rendered, and nothing in it can end the part or the message."""

import quopri
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jinja2 import Environment

from service.mail.mime_part import BOUNDARY, MimePart

HEAD = (
    b"--=_welcome\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
)
# Whatever the encoding or the end of a line looks at, and lines of about the length that is broken.
CHARACTERS = st.sampled_from([*"aF\n\n\n .=-\t\r\x0b\x1c\x85\u2028\0é😀\ud800", "x" * 37, "x" * 74, BOUNDARY])
TEXTS = st.lists(CHARACTERS, max_size=20).map("".join)


def render(text: str) -> bytes:
    template = Environment().from_string("{{ text }}", globals={"text": text})  # noqa: S701  # plain text
    encoded = MimePart("text/plain", template).render(name="Ada")
    assert encoded.startswith(HEAD)
    return encoded.removeprefix(HEAD)


@given(TEXTS)
def test_any_text_arrives_with_its_lines(text: str) -> None:
    arrived = quopri.decodestring(render(text)).decode()

    sent = text.encode("utf-8", "replace").decode()
    assert arrived.replace("\r\n", "\n").removesuffix("\n") == "\n".join(sent.splitlines())


@given(TEXTS)
@example("x" * 74 + " \nAda")
def test_every_line_is_printable_ascii_ends_in_crlf_and_is_no_longer_than_76(text: str) -> None:
    encoded = render(text)

    assert encoded.endswith(b"\r\n")
    assert re.fullmatch(rb"(?:[\t -~]{0,76}\r\n)*", encoded)


@given(TEXTS)
def test_no_text_contains_the_boundary(text: str) -> None:
    assert BOUNDARY.encode() not in render(text)


@pytest.mark.parametrize("name", ["Ada", None])
def test_the_name_is_rendered(name: str | None) -> None:
    template = Environment().from_string("Hello {{ name }}!")  # noqa: S701  # plain text

    assert MimePart("text/plain", template).render(name=name) == HEAD + f"Hello {name}!\r\n".encode()
