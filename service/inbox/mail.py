"""A caught mail: its envelope, its bytes, and their text for readers."""

import codecs
import email
from dataclasses import dataclass
from datetime import datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from functools import cached_property

BLANK_LINE = b"\r\n\r\n"
SLOW_CODECS = ("punycode", "idna")  # codecs for names, which take minutes for a whole mail


@dataclass(frozen=True, kw_only=True, eq=False)
class CaughtMail:
    id: str
    sender: str  # of the envelope, like the recipients; empty for a bounce
    recipients: tuple[str, ...]
    helo: str
    raw: bytes
    received_at: datetime

    @cached_property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Names and values in order, unfolded but not decoded."""
        return split_message(self.raw)[0]

    @property
    def subject(self) -> str:
        return self.header("Subject")

    @property
    def text(self) -> str | None:
        return self._first_part("text/plain")

    @property
    def html(self) -> str | None:
        return self._first_part("text/html")

    @property
    def source(self) -> str:
        return self.raw.decode(errors="replace")

    def header(self, name: str) -> str:
        """The first value, with encoded words (RFC 2047) decoded; empty if there is none."""
        for other, value in self.headers:
            if other.lower() == name.lower():
                return _decode_words(value)
        return ""

    # Parsed each time: cached parts would take as much memory as the mails themselves.
    def _first_part(self, content_type: str) -> str | None:
        try:
            parts = email.message_from_bytes(self.raw).walk()
            return next((_content(part) for part in parts if _is_shown(part, as_type=content_type)), None)
        except RecursionError:  # nested a thousand levels deep; the source view still works
            return None


def split_message(raw: bytes) -> tuple[tuple[tuple[str, str], ...], bytes]:
    """The headers, unfolded but not decoded, and the body. Without a blank line everything is body."""
    head, blank_line, body = raw.partition(BLANK_LINE)
    if not blank_line:
        return (), raw
    fields: list[str] = []
    for line in head.decode(errors="replace").split("\r\n"):
        if line.startswith((" ", "\t")) and fields:
            fields[-1] += line
        else:
            fields.append(line)
    pairs = (field.partition(":") for field in fields)
    return tuple((name.rstrip(), value.lstrip()) for name, colon, value in pairs if colon), body


def replace_surrogates(text: str) -> str:
    """Replaces lone surrogates, which some charsets and raw bytes produce, and UTF-8 refuses."""
    return text.encode(errors="replace").decode()


def _decode_words(value: str) -> str:
    try:
        words = decode_header(value)
        for _, charset in words:
            _check_charset(charset)
        return replace_surrogates(str(make_header(words)))
    except (LookupError, ValueError, HeaderParseError):
        return value


def _is_shown(part: Message, *, as_type: str) -> bool:
    return part.get_content_type() == as_type and part.get_content_disposition() != "attachment"


def _content(part: Message) -> str:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    try:
        charset = part.get_content_charset("utf-8")
        _check_charset(charset)
        return replace_surrogates(payload.decode(charset, errors="replace"))
    except (LookupError, ValueError):  # an unknown charset, or not a charset
        return payload.decode(errors="replace")


def _check_charset(charset: str | None) -> None:
    """Raises LookupError."""
    if charset and codecs.lookup(charset).name in SLOW_CODECS:
        raise LookupError("not a charset of mails")
