"""One of the two texts of a message: rendered for a name, and encoded for the wire."""

import binascii
from collections.abc import Sequence
from itertools import takewhile

from jinja2 import Template

# Quoted-printable has an "=" only before two hexadecimal digits or a line's end,
# so this can stand in no part, whatever the part says.
BOUNDARY = "=_welcome"


class MimePart:
    """Quoted-printable goes line by line, and most lines of a mail are those of every mail, so the lines
    above and below whatever differs between two mails are encoded once. (Encoding a whole mail took a
    third of the time of making it.)"""

    def __init__(self, content_type: str, template: Template) -> None:
        head = (
            f"--{BOUNDARY}\r\n"
            f"Content-Type: {content_type}; charset=utf-8\r\n"
            "Content-Transfer-Encoding: quoted-printable\r\n"
            "\r\n"
        )
        self._template = template
        self._head = head.encode()
        self._above, self._below = _common_lines(template.render(name=None), template.render(name="Ada"))
        self._above_encoded = self._head + _encoded([*self._above.splitlines(), ""])
        self._below_encoded = _last(self._below[1:])

    def render(self, name: str | None) -> bytes:
        """Raises whatever the template runs into."""
        text = self._template.render(name=name)
        above, below = self._above, self._below
        if not (below and text.startswith(above) and text.endswith(below, len(above))):
            return self._head + _last(text)
        between = text[len(above) : -len(below)] + "\n"
        return self._above_encoded + _encoded([*between.splitlines(), ""]) + self._below_encoded


def _last(text: str) -> bytes:
    return _encoded(text.splitlines()) + b"\r\n"


def _encoded(lines: Sequence[str]) -> bytes:
    """In quoted-printable (RFC 2045, section 6.7). They have no ends of their own, because no lone CR may
    reach the relay: it could end the message early."""
    text = "\n".join(lines).encode("utf-8", "replace")
    return binascii.b2a_qp(text, istext=True).replace(b"\n", b"\r\n")


def _common_lines(one: str, other: str) -> tuple[str, str]:
    """The first ones with the line end below each, the last ones with that above each."""
    above = "".join(f"{line}\n" for line in _alike(one.split("\n")[:-1], other.split("\n")[:-1]))
    rests = (text.removeprefix(above).split("\n")[:0:-1] for text in (one, other))
    below = "".join(f"\n{line}" for line in reversed(_alike(*rests)))
    return above, below if below != "\n" else ""  # a line end alone has no line below it


def _alike(lines: Sequence[str], others: Sequence[str]) -> Sequence[str]:
    """Those up to the first pair that differs."""
    return [line for line, _ in takewhile(lambda pair: pair[0] == pair[1], zip(lines, others, strict=False))]
