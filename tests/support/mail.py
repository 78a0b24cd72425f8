"""A row, a message and an EHLO reply, for tests of the mail."""

from uuid import UUID

from service.mail.message import Message
from service.outbox.row import Email

ID = UUID("0197d0c0-5b3e-7000-8000-0000000000ad")


def row(*, name: str | None = "Ada", recipient: str = "ada@example.com", locale: str | None = None) -> Email:
    return Email(
        id=ID,
        recipient=recipient,
        name=name,
        request_id="request",
        attempt=1,
        deferrals=0,
        held_until=0,
        locale=locale,
    )


MESSAGE = Message(
    sender="welcome@example.com", recipient="ada@example.com", content=b"Subject: hi\r\n\r\nhello\r\n"
)


OFFER = "250-relay\r\n250-AUTH PLAIN LOGIN\r\n250 STARTTLS"
