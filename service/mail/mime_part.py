"""One of the two texts of a message: renders and encodes it."""

import binascii
import re

from jinja2 import Template

# In quoted-printable an "=" stands only before two hexadecimal digits or the end of a line, so no part can
# contain this boundary.
BOUNDARY = "=_welcome"
# A line that `b2a_qp` makes too long: it encodes white space at the end of a line without counting that.
TOO_LONG = re.compile(rb"=(?:20|09)(?<=[^\n]{77})$", re.MULTILINE)


class MimePart:
    def __init__(self, content_type: str, template: Template) -> None:
        head = (
            f"--{BOUNDARY}\r\n"
            f"Content-Type: {content_type}; charset=utf-8\r\n"
            "Content-Transfer-Encoding: quoted-printable\r\n"
            "\r\n"
        )
        self._head = head.encode()
        self._template = template

    def render(self, **variables: str | None) -> bytes:
        """Raises what the template raises."""
        return self._head + _encode(self._template.render(variables)) + b"\r\n"


def _encode(text: str) -> bytes:
    """Encodes as quoted-printable (RFC 2045, section 6.7), with CRLF after each line. Other line ends are
    replaced first: a lone CR could make the relay see the end of the message too early."""
    lines = "\n".join(text.splitlines()).encode("utf-8", "replace")
    encoded = TOO_LONG.sub(rb"=\n\g<0>", binascii.b2a_qp(lines, istext=True))
    return encoded.replace(b"\n", b"\r\n")
