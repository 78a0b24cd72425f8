"""What is encoded in pieces is what would be encoded as a whole."""

import binascii

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jinja2 import Environment

from service.mail.mime_part import MimePart

HEAD = (
    b"--=_welcome\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
)
# Whatever the encoding or the end of a line looks at, and lines of about the length that is broken.
CHARACTERS = st.sampled_from([*"aF\n\n\n .=-\t\r\x0b\x1c\x85\u2028\0é😀\ud800", "x" * 37, "x" * 74])
TEXTS = st.lists(CHARACTERS, max_size=20).map("".join)
LINES = TEXTS.map(lambda text: f"{text}\n")


def as_a_whole(text: str) -> bytes:
    lines = "\n".join(text.splitlines()).encode("utf-8", "replace")
    return HEAD + binascii.b2a_qp(lines, istext=True).replace(b"\n", b"\r\n") + b"\r\n"


def saying(texts: dict[str | None, str]) -> MimePart:
    template = Environment().from_string("{{ texts[name] }}", globals={"texts": texts})  # noqa: S701  # plain text
    return MimePart("text/plain", template)


@given(above=TEXTS | LINES, differing=st.tuples(TEXTS, TEXTS, TEXTS), below=TEXTS | LINES)
@example(above="a\n", differing=("", "", ""), below="")
@example(above="a\n", differing=("", "F", ""), below="")
@example(above="a\n", differing=("\n", "F\n", ""), below="a")
@example(above="", differing=("", "F", ""), below="")
def test_any_two_mails_may_differ_anywhere(above: str, differing: tuple[str, str, str], below: str) -> None:
    nobody, ada, grace = (f"{above}{each}{below}" for each in differing)

    part = saying({None: nobody, "Ada": ada, "Grace": grace})

    assert part.render(None) == as_a_whole(nobody)
    assert part.render("Ada") == as_a_whole(ada)
    assert part.render("Grace") == as_a_whole(grace)


@given(texts=st.tuples(TEXTS, TEXTS, TEXTS))
@example(
    texts=("a\na\nF\na\na", "a\na\n=\na\na", "a\na\na")
)  # its lines are both the upper and the lower ones
def test_mails_need_have_nothing_in_common(texts: tuple[str, str, str]) -> None:
    part = saying(dict(zip([None, "Ada", "Grace"], texts, strict=True)))

    assert [part.render(name) for name in (None, "Ada", "Grace")] == [as_a_whole(text) for text in texts]


@pytest.mark.parametrize("text", ["", "\n", ".", "a ", "=\n.\n", "a\r", "a\r\n", "a\x85", "a\n\n"])
def test_a_mail_that_never_differs_stays_as_it_is(text: str) -> None:
    assert saying(dict.fromkeys([None, "Ada"], text)).render("Ada") == as_a_whole(text)
