"""Builds the bytes of an RFC 5322 message from a row of the outbox."""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime, formataddr, parseaddr
from functools import cached_property, lru_cache
from pathlib import Path

from jinja2 import Environment

from service.mail.mime_part import BOUNDARY, MimePart
from service.outbox.channel import CannotBuild
from service.outbox.row import Email
from service.person.greetable import is_greetable
from service.settings import InvalidSettings, Settings
from service.templating import environment
from service.templating.languages import DEFAULT

TEMPLATES = Path(__file__).parent / "templates"
WELCOME, CONFIRM = "welcome", "confirm"  # what the names of their templates begin with
SAMPLE_LINK = "https://example.com/confirm/0123456789abcdef"

CRLF = "\r\n"
END = f"--{BOUNDARY}--\r\n".encode()


@dataclass(frozen=True, slots=True)
class Message:
    """An envelope and its content. The addresses are ASCII."""

    sender: str
    recipient: str = field(repr=False)
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Words:
    """The texts of the message in one language."""

    headers: bytes  # the headers that all messages share
    text: MimePart
    html: MimePart


class Messages:
    """Builds welcome and confirmation messages. Headers that all messages of a kind share are built once;
    Jinja renders the two parts. (`EmailMessage` would take a millisecond for each message.)

    Raises InvalidSettings for a broken template, and for headers that are not the ones intended.
    """

    def __init__(self, settings: Settings) -> None:
        self._templates = environment.create_environment(settings, built_in=TEMPLATES)
        self._settings = settings
        self._envelope_sender = settings.envelope_sender
        self._domain = settings.sender_domain
        self._idempotency_header = settings.mail_idempotency_header
        self._welcome = self._load(WELCOME, {})
        self.languages = frozenset(self._welcome)
        if settings.asks_to_confirm:
            self.languages |= frozenset(self._confirmation)

    @cached_property
    def _confirmation(self) -> Mapping[str, _Words]:
        """Also for what was stored before CONFIRMATION was set to off."""
        return self._load(CONFIRM, {"link": SAMPLE_LINK, "token": "", "url": SAMPLE_LINK})

    def welcome(self, email: Email) -> Message:
        """Raises CannotBuild."""
        return self._build(email, self._welcome)

    def confirmation(self, email: Email, *, token: str) -> Message:
        """Raises CannotBuild."""
        link = f"{self._settings.public_url}/confirm/{token}"
        return self._build(email, self._confirmation, link=link, token=token, url=link)

    def _load(self, mail: str, variables: Mapping[str, str]) -> Mapping[str, _Words]:
        """The texts by language. Raises InvalidSettings."""
        names = rf"{mail}\.{{}}\.(?:subject\.txt|txt|html)"
        languages = environment.languages(self._templates, pattern=names)
        return {
            language: _load_words(
                self._templates,
                mail if language == DEFAULT else f"{mail}.{language}",
                {**variables, "language": language},
                settings=self._settings,
            )
            # The default language first: a fault in a file that others use is then reported for that file.
            for language in sorted(languages, key=lambda language: language != DEFAULT)
        }

    def _build(self, email: Email, by_language: Mapping[str, _Words], **variables: str | None) -> Message:
        name = email.name if email.name and is_greetable(email.name) else None
        language = email.locale if email.locale and email.locale in by_language else DEFAULT
        words = by_language[language]
        variables |= {"language": language, "name": name}
        try:
            text, html = words.text.render(variables), words.html.render(variables)
        except Exception as exc:  # a template can raise anything
            raise CannotBuild(f"the template failed: {exc}") from exc
        if not email.recipient.isascii() or not email.recipient.isprintable():
            raise CannotBuild("the recipient's address is not printable ASCII")
        return Message(
            sender=self._envelope_sender,
            recipient=email.recipient,
            content=b"".join([words.headers, self._own_headers(email), text, html, END]),
        )

    def _own_headers(self, email: Email) -> bytes:
        # Derived from the row, so every attempt carries the same Message-ID. One that was asked for again has
        # another, or its receiver would take it for a duplicate.
        mail_id = f"{email.id}.{email.renewals}" if email.renewals else f"{email.id}"
        lines = [
            f"To: {email.recipient}",
            f"Date: {_date(int(time.time()))}",
            f"Message-ID: <{mail_id}@{self._domain}>",
        ]
        if self._idempotency_header:
            lines.append(f"{self._idempotency_header}: {mail_id}")
        return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii")


def _load_words(
    templates: Environment, stem: str, variables: Mapping[str, str], *, settings: Settings
) -> _Words:
    """Raises InvalidSettings."""
    samples = [{**variables, "name": name} for name in ("Ada", None)]
    subject = environment.load_template(templates, f"{stem}.subject.txt", {}).render().strip()
    if len(subject.splitlines()) != 1:
        raise InvalidSettings(f"TEMPLATES_DIR: {stem}.subject.txt must make one line.")
    text, html = (
        MimePart(kind, environment.load_template(templates, f"{stem}.{ending}", *samples))
        for kind, ending in (("text/plain", "txt"), ("text/html", "html"))
    )
    return _Words(headers=_common_headers(settings, subject), text=text, html=html)


def _common_headers(settings: Settings, subject: str) -> bytes:
    # Not `EmailMessage`: it decodes what looks like an encoded word, and before Python 3.11.10 it wrote the
    # line breaks in there to the wire (CVE-2024-6923). `Header` encodes the text as it is.
    reply_to = settings.mail_reply_to
    headers = {
        "From": _address("From", settings.mail_from),
        **({"Reply-To": _address("Reply-To", reply_to)} if reply_to else {}),
        "Subject": Header(subject, _charset(subject), header_name="Subject"),
        "Auto-Submitted": Header("auto-generated"),  # RFC 3834, section 5
        "X-Auto-Response-Suppress": Header("All"),  # the same for Exchange
        "MIME-Version": Header("1.0"),
        "Content-Type": Header(f'multipart/alternative; boundary="{BOUNDARY}"'),
    }
    lines = [f"{name}: {value.encode(linesep=CRLF)}{CRLF}" for name, value in headers.items()]
    # As they were typed: relays that read them do not unfold them.
    lines += [f"{name}: {value}{CRLF}" for name, value in settings.mail_headers]
    names = [*headers, *(name for name, _ in settings.mail_headers)]
    return check_headers("".join(lines).encode("ascii"), names=names)


def _address(header: str, mailbox: str) -> Header:
    display_name, address = parseaddr(mailbox)
    if _charset(display_name) == "us-ascii":
        return Header(formataddr((display_name, address)), "us-ascii", header_name=header)
    value = Header(display_name, "utf-8", header_name=header)
    value.append(f"<{address}>", "us-ascii")
    return value


def _charset(text: str) -> str:
    """utf-8 also for what looks like an encoded word (RFC 2047), so that it arrives as it was typed."""
    return "us-ascii" if text.isascii() and "=?" not in text else "utf-8"


def check_headers(headers: bytes, *, names: Sequence[str]) -> bytes:
    """Returns the headers if they are exactly those named, whatever this Python version made of the settings.

    Raises InvalidSettings.
    """
    unfolded = re.sub(rb"\r\n(?=[ \t]+[^ \t\r\n])", b"", headers)
    expected = b"".join(rb"%s: [^\r\n]*\r\n" % re.escape(name).encode() for name in names)
    if not re.fullmatch(expected, unfolded):
        raise InvalidSettings(
            "MAIL_FROM, MAIL_REPLY_TO, MAIL_HEADERS, PRODUCT_NAME or a subject.txt would add another "
            "header to every mail: remove line breaks and =?...?= from them."
        )
    return headers


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    """RFC 5322, section 3.3. Cached, because thousands of mails leave in one second."""
    return format_datetime(datetime.fromtimestamp(second, UTC))
