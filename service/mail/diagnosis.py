"""What is wrong with the relay, in a sentence for people, and how to mend it."""

import errno
import socket
import ssl
from collections.abc import Iterator

from aiosmtplib import (
    SMTPAuthenticationError,
    SMTPDataError,
    SMTPRecipientRefused,
    SMTPResponseException,
    SMTPSenderRefused,
    SMTPServerDisconnected,
)

from service.outbox.channel import ChannelTrouble, Refusal
from service.settings import Settings

AUTHENTICATION_REQUIRED = (
    530  # RFC 4954, section 6; RFC 3207, section 4, where it is STARTTLS that is missing
)

# The first that fits counts.
ABOUT: tuple[tuple[type[BaseException], str], ...] = (
    (
        SMTPAuthenticationError,
        "{relay} does not accept SMTP_USERNAME and SMTP_PASSWORD: check both; some providers have passwords "
        "for programs alone.",
    ),
    (
        SMTPSenderRefused,
        "{relay} does not let you send as {sender}: set MAIL_FROM to an address that you may use there.",
    ),
    (
        SMTPRecipientRefused,
        "{relay} does not take mail for this address: check it. If it takes none for any, it wants "
        "SMTP_USERNAME and SMTP_PASSWORD, or to be told that this machine may send.",
    ),
    (
        SMTPDataError,
        "{relay} does not take the message: what it says is about the text, or about MAIL_FROM's domain.",
    ),
    (SMTPResponseException, "{relay} turns you away: check that this machine may send through it."),
    (
        socket.gaierror,
        "No address is known for {host}: check the spelling of SMTP_HOST, and this machine's DNS.",
    ),
    (
        ssl.SSLCertVerificationError,
        "{host} does not prove who it is ({reason}): set SMTP_HOST to a name that its certificate has, or "
        "SSL_CERT_FILE to the authority that issued it.",
    ),
    (
        ssl.SSLError,
        "No encryption comes about with {relay} ({reason}): check that SMTP_SECURITY is what this port "
        "wants, as a rule tls on 465 and starttls on 587.",
    ),
    (
        TimeoutError,
        "{relay} does not answer: check SMTP_HOST and SMTP_PORT. Many hosting companies block 25, 465 and "
        "587: try 2525, which many providers offer too. Or SMTP_SECURITY is not what this port wants, which "
        "normally is tls on 465 and starttls on the others.",
    ),
    (
        SMTPServerDisconnected,
        "{relay} hangs up: check that SMTP_SECURITY is what this port wants, and what its log says.",
    ),
)
UNREACHABLE = "No way leads to {relay}: check this machine's network, and SMTP_HOST."
# For what aiosmtplib has no class, and asyncio none where a name has several addresses.
SAID = {
    f"[Errno {errno.ECONNREFUSED}]": (
        "Nothing listens at {host}:{port}: check SMTP_PORT, as a rule 587 with starttls and 465 with tls, "
        "and that the relay runs."
    ),
    "STARTTLS extension not supported": (
        "{relay} offers no STARTTLS: set SMTP_SECURITY=tls if this port is for that, or none if it is a mail "
        "catcher of yours."
    ),
    f"[Errno {errno.ENETUNREACH}]": UNREACHABLE,
    f"[Errno {errno.EHOSTUNREACH}]": UNREACHABLE,
    "No suitable authentication method": (
        "{relay} accepts no password, but only another way to log in, such as XOAUTH2: host and port are "
        "right. Ask the provider for a password for programs, or for SMTP with a password."
    ),
    "AUTH extension is not supported": (
        "{relay} takes no password here: set SMTP_SECURITY, for many ask only when encrypted, or leave "
        "SMTP_USERNAME and SMTP_PASSWORD empty."
    ),
}
WANTS_ENCRYPTION = "{relay} wants encryption: set SMTP_SECURITY=starttls."
WANTS_PASSWORD = "{relay} wants to know who you are: set SMTP_USERNAME and SMTP_PASSWORD."  # noqa: S105  # the mend
UNKNOWN = "{relay} cannot be used ({reason}): check SMTP_HOST, SMTP_PORT and SMTP_SECURITY."


def explain(trouble: Refusal | ChannelTrouble, settings: Settings) -> str:
    """For the operator alone: the relay's words may name the recipient."""
    found = ((cause, about) for cause in _causes(trouble) if (about := _about(cause)))
    cause, sentence = next(found, (trouble, UNKNOWN))
    explained = sentence.format(
        relay=f"The relay {settings.smtp_host}:{settings.smtp_port}",
        host=settings.smtp_host,
        port=settings.smtp_port,
        sender=settings.sender,
        reason=_reason(cause) or trouble.reason,
    )
    return (
        f'{explained} It said: "{trouble.reason}"' if isinstance(cause, SMTPResponseException) else explained
    )


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    while exc := (exc.__cause__ or exc.__context__) if exc else None:
        yield exc


def _about(cause: BaseException) -> str | None:
    if isinstance(cause, SMTPResponseException) and cause.code == AUTHENTICATION_REQUIRED:
        return WANTS_ENCRYPTION if "TLS" in cause.message.upper() else WANTS_PASSWORD
    by_words = (sentence for words, sentence in SAID.items() if words in str(cause))
    by_class = (sentence for kind, sentence in ABOUT if isinstance(cause, kind))
    return next(by_words, None) or next(by_class, None)


def _reason(cause: BaseException) -> str | None:
    match cause:
        case ssl.SSLCertVerificationError():
            return cause.verify_message.rstrip(".")
        case ssl.SSLError():
            return cause.reason
        case _:
            return None
