"""One of the two texts of a message: renders and encodes it."""

import binascii
import re
from collections.abc import Mapping, Sequence

from jinja2 import Template

# In quoted-printable an "=" stands only before two hexadecimal digits or the end of a line, so no part can
# contain this boundary.
BOUNDARY = "=_welcome"
MAX_LINE = 998  # characters; RFC 5322, section 2.1.1
PRINTABLE = b"\t\r\n" + bytes(range(ord(" "), ord("~") + 1))
# A line that `b2a_qp` makes too long: it encodes white space at the end of a line without counting that.
TOO_LONG = re.compile(rb"=(?:20|09)(?<=[^\n]{77})$", re.MULTILINE)


class MimePart:
    """A text of short lines in printable ASCII is sent as it is, and any other in quoted-printable (RFC 2045,
    sections 2.7 and 6.7), which makes building a mail take half as long again."""

    def __init__(self, content_type: str, template: Template) -> None:
        self._plain_head = _head(content_type, "7bit")
        self._quoted_head = _head(content_type, "quoted-printable")
        self._template = template

    def render(self, variables: Mapping[str, str | None]) -> bytes:
        """Raises what the template raises."""
        # Each line end becomes CRLF: a lone CR could make the relay see the end of the message too early.
        lines = self._template.render(variables).splitlines()
        content = "\r\n".join(lines).encode("utf-8", "surrogatepass")
        if _is_plain(content) and len(max(lines, key=len, default="")) <= MAX_LINE:
            return self._plain_head + content + b"\r\n"
        return self._quoted_head + _quote(lines) + b"\r\n"


def _head(content_type: str, encoding: str) -> bytes:
    return (
        f"--{BOUNDARY}\r\n"
        f"Content-Type: {content_type}; charset=utf-8\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n"
        "\r\n"
    ).encode()


def _is_plain(content: bytes) -> bool:
    """Whether the content may be sent as it is, and is still a part of this message."""
    return not content.translate(None, PRINTABLE) and BOUNDARY.encode() not in content


def _quote(lines: Sequence[str]) -> bytes:
    encoded = binascii.b2a_qp("\n".join(lines).encode("utf-8", "replace"), istext=True)
    return TOO_LONG.sub(rb"=\n\g<0>", encoded).replace(b"\n", b"\r\n")
