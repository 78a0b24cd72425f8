"""From a row of the outbox to the bytes of an RFC 5322 message."""

import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from pathlib import Path
from traceback import extract_tb

from jinja2 import (
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    StrictUndefined,
    Template,
    TemplateSyntaxError,
    select_autoescape,
)

from service.settings import InvalidSettings, Settings
from service.welcome.emails import Email
from service.welcome.greeting import greets

TEMPLATES = Path(__file__).parent / "templates"

# Quoted-printable has an "=" only before two hexadecimal digits or a line's end,
# so this can stand in no part, whatever the part says.
BOUNDARY = "=_welcome"


class CannotBuild(Exception):
    """This email's message cannot be made: a template or the row is at fault, and no retry will help."""


@dataclass(frozen=True, slots=True)
class Message:
    """An envelope and what is in it. The addresses are ASCII."""

    sender: str
    recipient: str
    content: bytes


class Messages:
    """Makes welcome messages. `EmailMessage` needs a millisecond for each, so it makes the headers
    that all have in common, once; jinja renders the two parts.

    Raises InvalidSettings for a broken template.
    """

    def __init__(self, settings: Settings) -> None:
        templates = _environment(settings)
        self._text = _tried(templates, "welcome.txt", {"name": "Ada"}, {"name": None})
        self._html = _tried(templates, "welcome.html", {"name": "Ada"}, {"name": None})
        subject = _tried(templates, "welcome.subject.txt", {}).render().strip()
        if len(subject.splitlines()) != 1:
            raise InvalidSettings("TEMPLATES_DIR: welcome.subject.txt must make one line.")
        self._sender = settings.sender
        self._domain = settings.sender.rpartition("@")[2]
        self._idempotency_header = settings.mail_idempotency_header
        self._common_headers = _common_headers(settings.mail_from, subject)

    def welcome(self, email: Email) -> Message:
        """Raises CannotBuild."""
        name = email.name if email.name and greets(email.name) else None
        try:
            text, html = self._text.render(name=name), self._html.render(name=name)
        except Exception as exc:  # a template may run into anything
            raise CannotBuild(f"the template failed: {exc}") from exc
        if not email.recipient.isascii() or not email.recipient.isprintable():
            raise CannotBuild("the recipient's address is not printable ASCII")
        return Message(
            sender=self._sender,
            recipient=email.recipient,
            content=b"".join(
                [
                    self._common_headers,
                    self._own_headers(email),
                    _part("text/plain", text),
                    _part("text/html", html),
                    f"--{BOUNDARY}--\r\n".encode(),
                ]
            ),
        )

    def _own_headers(self, email: Email) -> bytes:
        # Derived from the row, so every attempt carries the same Message-ID.
        lines = [
            f"To: {email.recipient}",
            f"Date: {format_datetime(datetime.now(UTC))}",
            f"Message-ID: <{email.id}@{self._domain}>",
        ]
        if self._idempotency_header:
            lines.append(f"{self._idempotency_header}: {email.id}")
        return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii")


def _environment(settings: Settings) -> Environment:
    folders = [folder for folder in (settings.templates_dir, TEMPLATES) if folder]
    environment = Environment(
        loader=ChoiceLoader([FileSystemLoader(folder) for folder in folders]),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
    )
    environment.globals.update(
        product=settings.product_name, url=settings.public_url, color=settings.brand_color
    )
    return environment


def _tried(environment: Environment, name: str, *contexts: dict[str, str | None]) -> Template:
    """So that the first signup is not the first to meet a fault. Raises InvalidSettings."""
    try:
        template = environment.get_template(name)
        for context in contexts:
            template.render(context)
    except Exception as exc:  # a template may run into anything
        reason = str(exc).rstrip(".")
        raise InvalidSettings(f"TEMPLATES_DIR: {_place(exc) or name} cannot be used: {reason}.") from exc
    return template


def _place(exc: Exception) -> str | None:
    """File and line, where the exception knows them."""
    if isinstance(exc, TemplateSyntaxError):
        return f"{exc.filename}, line {exc.lineno},"
    frames = [frame for frame in extract_tb(exc.__traceback__) if not frame.filename.endswith((".py", ">"))]
    return f"{frames[-1].filename}, line {frames[-1].lineno}," if frames else None


def _common_headers(mail_from: str, subject: str) -> bytes:
    headers = EmailMessage(policy=SMTP)
    display_name, address = parseaddr(mail_from)
    headers["From"] = Address(display_name, addr_spec=address)
    headers["Subject"] = subject
    headers["Auto-Submitted"] = "auto-generated"  # RFC 3834, section 5
    headers["MIME-Version"] = "1.0"
    headers["Content-Type"] = f'multipart/alternative; boundary="{BOUNDARY}"'
    return b"".join(SMTP.fold_binary(name, value) for name, value in headers.raw_items())


def _part(content_type: str, text: str) -> bytes:
    lines = "\n".join(text.splitlines())  # no lone CR may reach the relay: it could end the message early
    encoded = binascii.b2a_qp(lines.encode(), istext=True).replace(b"\n", b"\r\n")
    head = (
        f"--{BOUNDARY}\r\n"
        f"Content-Type: {content_type}; charset=utf-8\r\n"
        "Content-Transfer-Encoding: quoted-printable\r\n"
        "\r\n"
    )
    return head.encode() + encoded + b"\r\n"
