"""The mails of these tests."""

from service.inbox.mail import CaughtMail
from service.inbox.store import MailStore

WELCOME = (
    "From: Welcome <welcome@example.com>\r\n"
    "To: Ada Lovelace\r\n"
    "\t<ada@example.com>\r\n"
    "Subject: =?utf-8?q?Sch=C3=B6n=2C_dass_du_da_bist?=\r\n"
    'Content-Type: multipart/alternative; boundary="b"\r\n'
    "\r\n"
    "--b\r\n"
    "Content-Type: text/plain; charset=utf-8\r\n"
    "Content-Transfer-Encoding: quoted-printable\r\n"
    "\r\n"
    "Sch=C3=B6n: http://localhost:8000/welcome\r\n"
    "--b\r\n"
    "Content-Type: text/html; charset=utf-8\r\n"
    "Content-Transfer-Encoding: 8bit\r\n"
    "\r\n"
    "<p>Schön</p>\r\n"
    "--b--\r\n"
).encode()


def catch(
    store: MailStore,
    raw: bytes = WELCOME,
    *,
    subject: str | None = None,
    sender: str = "welcome@example.com",
    recipients: tuple[str, ...] = ("ada@example.com",),
) -> CaughtMail:
    if subject is not None:
        raw = f"Subject: {subject}\r\n\r\nHello\r\n".encode()
    return store.add(sender=sender, recipients=recipients, raw=raw, helo="localhost")
