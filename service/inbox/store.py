"""Keeps the newest caught mails in memory."""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice

from service.inbox.mail import CaughtMail

HOSTNAME = "inbox.localhost"
MAX_MAILS = 5_000
MAX_BYTES = 64 * 2**20


class SearchKind(StrEnum):
    FROM = "from"  # the envelope's sender or the From header
    TO = "to"  # the envelope's recipients or the To header
    CONTAINING = "containing"  # anything in the mail, as sent or decoded


class MailStore:
    """Keeps mails until they are deleted or newer mails need the room."""

    def __init__(self, *, max_mails: int = MAX_MAILS, max_bytes: int = MAX_BYTES) -> None:
        self._max_mails = max_mails
        self._max_bytes = max_bytes
        self._mails: OrderedDict[str, CaughtMail] = OrderedDict()
        self._unread: set[str] = set()
        self._bytes = 0
        self._change = asyncio.Event()
        self._closed = False
        self.version = secrets.randbits(32)  # random, so that a page also notices a restart

    def __len__(self) -> int:
        return len(self._mails)

    def __iter__(self) -> Iterator[CaughtMail]:
        return reversed(self._mails.values())

    def add(self, *, sender: str, recipients: Sequence[str], raw: bytes, helo: str) -> CaughtMail:
        mail = CaughtMail(
            id=f"{secrets.token_urlsafe(32)}@{HOSTNAME}",
            sender=sender,
            recipients=tuple(recipients),
            helo=helo,
            raw=raw,
            received_at=datetime.now(UTC),
        )
        self._mails[mail.id] = mail
        self._unread.add(mail.id)
        self._bytes += len(raw)
        self._make_room()
        self._announce()
        return mail

    def page(self, *, start: int, limit: int) -> list[CaughtMail]:
        """Newest first."""
        return list(islice(self, start, start + limit))

    def get(self, mail_id: str) -> CaughtMail | None:
        return self._mails.get(mail_id)

    def is_unread(self, mail_id: str) -> bool:
        return mail_id in self._unread

    def mark_read(self, mail_id: str) -> None:
        if mail_id in self._unread:
            self._unread.discard(mail_id)
            self._announce()

    def neighbors(self, mail_id: str) -> tuple[str | None, str | None]:
        """The ids of the next newer and the next older mail."""
        ids = list(self._mails)
        at = ids.index(mail_id)
        return (ids[at + 1] if at + 1 < len(ids) else None), (ids[at - 1] if at else None)

    async def search(self, query: str, *, kind: SearchKind) -> list[CaughtMail]:
        """All mails that contain the query, ignoring case, newest first."""
        found = []
        for mail in tuple(self):
            if any(query.lower() in text.lower() for text in _texts(mail, kind=kind)):
                found.append(mail)
            await asyncio.sleep(0)  # thousands of mails take a second, and the API runs in this loop
        return found

    def delete(self, mail_id: str) -> bool:
        """Whether there was such a mail."""
        mail = self._mails.pop(mail_id, None)
        if mail is None:
            return False
        self._unread.discard(mail_id)
        self._bytes -= len(mail.raw)
        self._announce()
        return True

    def clear(self) -> None:
        self._mails.clear()
        self._unread.clear()
        self._bytes = 0
        self._announce()

    async def wait_for_change(self, *, since: int) -> int:
        """Waits until the version differs from `since` or the inbox is closed. Returns the version."""
        while self.version == since and not self._closed:
            await self._change.wait()
        return self.version

    def close(self) -> None:
        """Ends all waiting for changes, so that the HTTP server can stop at once."""
        self._closed = True
        self._change.set()

    def _make_room(self) -> None:
        while len(self._mails) > self._max_mails or self._bytes > self._max_bytes:
            oldest_id, oldest = self._mails.popitem(last=False)
            self._unread.discard(oldest_id)
            self._bytes -= len(oldest.raw)

    def _announce(self) -> None:
        self.version += 1
        self._change.set()
        self._change = asyncio.Event()


def _texts(mail: CaughtMail, *, kind: SearchKind) -> Iterator[str]:
    match kind:
        case SearchKind.FROM:
            yield from (mail.sender, *_values(mail, name="from"), mail.header("From"))
        case SearchKind.TO:
            yield from (*mail.recipients, *_values(mail, name="to"), mail.header("To"))
        case SearchKind.CONTAINING:
            yield mail.source
            yield mail.subject
            yield mail.text or ""
            yield mail.html or ""


def _values(mail: CaughtMail, *, name: str) -> Iterator[str]:
    return (value for other, value in mail.headers if other.lower() == name)
