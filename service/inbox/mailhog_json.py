"""Formats mails as MailHog 1.0.1 does."""

from collections.abc import Iterable
from email.message import Message as MimeHeader
from email.utils import format_datetime
from typing import TypedDict

from service.inbox.mail import CaughtMail, split_message
from service.inbox.store import HOSTNAME

MAX_DEPTH = 20  # levels of nested multiparts; deeper parts are not split


class Path(TypedDict):
    Relays: list[str] | None
    Mailbox: str
    Domain: str
    Params: str


class Content(TypedDict):
    Headers: dict[str, list[str]]  # as on the wire, unfolded
    Body: str  # as on the wire: quoted-printable and base64 are not decoded
    Size: int  # of headers and body, in bytes
    MIME: "Mime | None"


class Mime(TypedDict):
    Parts: list[Content] | None


class Raw(TypedDict):
    From: str
    To: list[str]
    Data: str
    Helo: str


class Message(TypedDict):
    ID: str
    From: Path
    To: list[Path]
    Content: Content
    Created: str
    MIME: Mime | None
    Raw: Raw


class Page(TypedDict):
    total: int
    count: int
    start: int
    items: list[Message]


def message(mail: CaughtMail) -> Message:
    content = _content(mail.raw)
    mime = content["MIME"]
    content["MIME"] = None  # MailHog has a message's parts beside its content, a part's inside
    _add_trace(content["Headers"], mail=mail)
    return Message(
        ID=mail.id,
        From=_path(mail.sender),
        To=[_path(recipient) for recipient in mail.recipients],
        Content=content,
        Created=mail.received_at.isoformat().replace("+00:00", "Z"),
        MIME=mime,
        Raw=Raw(
            From=mail.sender,
            To=list(mail.recipients),
            Data=mail.source.removesuffix("\r\n"),
            Helo=mail.helo,
        ),
    )


def page(mails: Iterable[CaughtMail], *, start: int, total: int) -> Page:
    items = [message(mail) for mail in mails]
    return Page(total=total, count=len(items), start=start, items=items)


def _content(raw: bytes, *, depth: int = 0) -> Content:
    fields, body = split_message(raw)
    body = body.removesuffix(b"\r\n")  # the one before the final dot
    headers: dict[str, list[str]] = {}
    for name, value in fields:
        headers.setdefault(name, []).append(value)
    return Content(
        Headers=headers,
        Body=body.decode(errors="replace"),
        Size=len(raw.removesuffix(b"\r\n")),
        MIME=_mime(fields, body=body, depth=depth),
    )


def _mime(fields: Iterable[tuple[str, str]], *, body: bytes, depth: int) -> Mime | None:
    content_type = next((value for name, value in fields if name.lower() == "content-type"), "")
    if not content_type.lower().startswith("multipart/") or depth == MAX_DEPTH:
        return None
    boundary = _boundary(content_type)
    # For MailHog everything between two boundaries is a part, so the last one is "--". Clients rely on the
    # index.
    pieces = body.split(b"--" + boundary) if boundary else []
    return Mime(Parts=[_content(piece.strip(b"\r\n"), depth=depth + 1) for piece in pieces if piece] or None)


def _boundary(content_type: str) -> bytes:
    header = MimeHeader()
    header["Content-Type"] = content_type
    return (header.get_boundary() or "").encode()


def _add_trace(headers: dict[str, list[str]], *, mail: CaughtMail) -> None:
    names = {name.lower(): name for name in headers}
    headers.setdefault(names.get("message-id", "Message-ID"), [mail.id])
    headers.setdefault(names.get("received", "Received"), []).append(_received(mail))
    headers.setdefault(names.get("return-path", "Return-Path"), []).append(f"<{mail.sender}>")


def _received(mail: CaughtMail) -> str:
    time = format_datetime(mail.received_at)
    return f"from {mail.helo} by {HOSTNAME} (inbox)\r\n          id {mail.id}; {time}"


def _path(address: str) -> Path:
    mailbox, _, domain = address.partition("@")
    return Path(Relays=None, Mailbox=mailbox, Domain=domain, Params="")
