"""Explains what is wrong with the relay and how to fix it, in a sentence for people."""

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

from service.mail.connection import TokenTrouble
from service.outbox.channel import ChannelTrouble, Refusal
from service.settings import Settings, SmtpAuth

AUTHENTICATION_REQUIRED = (
    530  # RFC 4954, section 6; RFC 3207, section 4, where it is STARTTLS that is missing
)

# The first class that fits is used.
SENTENCES_BY_CLASS: tuple[tuple[type[BaseException], str], ...] = (
    (
        SMTPAuthenticationError,
        "{relay} does not accept SMTP_USERNAME and SMTP_PASSWORD: check both. Some providers require an app "
        "password.",
    ),
    (
        SMTPSenderRefused,
        "{relay} does not let you send as {sender}: set MAIL_FROM, or MAIL_RETURN_PATH if you use it, to an "
        "address that it accepts.",
    ),
    (
        SMTPRecipientRefused,
        "{relay} does not accept mail for this address: check it. If it accepts none at all, set "
        "SMTP_USERNAME and SMTP_PASSWORD, or let the relay accept mail from this machine.",
    ),
    (
        SMTPDataError,
        "{relay} does not accept the message: read its reply, and change the text (TEMPLATES_DIR) or the "
        "domain of MAIL_FROM.",
    ),
    (SMTPResponseException, "{relay} refuses the connection: check that this machine may send through it."),
    (
        socket.gaierror,
        "{host} has no address: check the spelling of SMTP_HOST, and this machine's DNS.",
    ),
    (
        ssl.SSLCertVerificationError,
        "{host} has no valid certificate ({reason}): set SMTP_HOST to a name in its certificate, or "
        "SSL_CERT_FILE to the authority that issued it.",
    ),
    (
        ssl.SSLError,
        "TLS with {host}:{port} fails ({reason}): check that SMTP_SECURITY fits this port, usually tls on "
        "465 and starttls on the others.",
    ),
    (
        TimeoutError,
        "{relay} does not answer: check SMTP_HOST and SMTP_PORT. Many hosting companies block 25, 465 and "
        "587: try 2525, which many providers offer too. Or SMTP_SECURITY does not fit this port: usually it "
        "is tls on 465 and starttls on the others.",
    ),
    (
        SMTPServerDisconnected,
        "{relay} closes the connection: check that SMTP_SECURITY fits this port, and read the relay's log.",
    ),
)
UNREACHABLE = "{relay} cannot be reached: check this machine's network, and SMTP_HOST."
# Words of errors without a class of their own in aiosmtplib, or in asyncio if a name has several addresses.
SENTENCES_BY_WORDS = {
    f"[Errno {errno.ECONNREFUSED}]": (
        "Nothing listens at {host}:{port}: check SMTP_PORT (usually 587 with starttls, 465 with tls), and "
        "that the relay runs."
    ),
    "STARTTLS extension not supported": (
        "{relay} does not offer STARTTLS: set SMTP_SECURITY=tls if this port is for TLS, or none if it is "
        "your own mail catcher."
    ),
    f"[Errno {errno.ENETUNREACH}]": UNREACHABLE,
    f"[Errno {errno.EHOSTUNREACH}]": UNREACHABLE,
    "No suitable authentication method": (
        "{relay} does not accept passwords, only another way to log in. Host and port are right: set "
        "SMTP_AUTH=xoauth2 if the provider has OAuth, or ask it for SMTP with a password."
    ),
    "XOAUTH2 is not offered": (
        "{relay} does not offer XOAUTH2 on this connection: set SMTP_SECURITY, because many relays require "
        "encryption first, or SMTP_AUTH=password."
    ),
    "AUTH extension is not supported": (
        "{relay} does not accept a password on this connection: set SMTP_SECURITY, because many relays "
        "require encryption first, or leave SMTP_USERNAME and SMTP_PASSWORD empty."
    ),
}
WANTS_ENCRYPTION = "{relay} requires encryption: set SMTP_SECURITY=starttls."
WANTS_PASSWORD = "{relay} requires a login: set SMTP_USERNAME and SMTP_PASSWORD."  # noqa: S105  # a sentence
XOAUTH2_REFUSED = (
    "{relay} does not accept the access token: check that SMTP_USERNAME is the mailbox, that the provider "
    "lets this app send as it, and SMTP_OAUTH_SCOPE."
)
TRY_LATER = "the provider has trouble: try again later"
# By the code of the token endpoint: RFC 6749, sections 4.1.2.1 and 5.2; invalid_resource is Microsoft's.
ABOUT_TOKEN = {
    "invalid_client": "check SMTP_OAUTH_CLIENT_ID and SMTP_OAUTH_CLIENT_SECRET",
    "unauthorized_client": "check SMTP_OAUTH_CLIENT_ID, and what the provider lets this app do",
    "invalid_grant": "check SMTP_OAUTH_REFRESH_TOKEN: it may have expired or been revoked",
    "unsupported_grant_type": "set SMTP_OAUTH_REFRESH_TOKEN, or leave it empty, as the provider wants it",
    "invalid_scope": "check SMTP_OAUTH_SCOPE",
    "invalid_resource": "check SMTP_OAUTH_SCOPE",
    "server_error": TRY_LATER,
    "temporarily_unavailable": TRY_LATER,
}
ABOUT_OTHER_ERROR = "check SMTP_OAUTH_TOKEN_URL and SMTP_OAUTH_SCOPE"
ENDPOINT_AWAY = "check SMTP_OAUTH_TOKEN_URL, and this machine's network"
ENDPOINT_UNPROVED = (
    "check SMTP_OAUTH_TOKEN_URL, or set SSL_CERT_FILE to the authority that issued its certificate"
)
UNKNOWN = "{relay} cannot be used ({reason}): check SMTP_HOST, SMTP_PORT and SMTP_SECURITY."


def explain(trouble: Refusal | ChannelTrouble, settings: Settings) -> str:
    """For the operator only: the relay's reply may name the recipient."""
    if isinstance(trouble, TokenTrouble):
        return _explain_missing_token(trouble)
    found = ((cause, about) for cause in _causes(trouble) if (about := _find_sentence(cause, settings)))
    cause, sentence = next(found, (trouble, UNKNOWN))
    explained = sentence.format(
        relay=f"The relay {settings.smtp_host}:{settings.smtp_port}",
        host=settings.smtp_host,
        port=settings.smtp_port,
        sender=settings.envelope_sender,
        reason=_reason(cause) or trouble.reason,
    )
    return (
        f'{explained} It said: "{trouble.reason}"' if isinstance(cause, SMTPResponseException) else explained
    )


def _explain_missing_token(trouble: TokenTrouble) -> str:
    is_unproved = any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(trouble))
    about_endpoint = ENDPOINT_UNPROVED if is_unproved else ENDPOINT_AWAY
    advice = ABOUT_TOKEN.get(trouble.error, ABOUT_OTHER_ERROR if trouble.error else about_endpoint)
    return f"There is no access token for the relay ({trouble.reason}): {advice}."


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    while exc := (exc.__cause__ or exc.__context__) if exc else None:
        yield exc


def _find_sentence(cause: BaseException, settings: Settings) -> str | None:
    if isinstance(cause, SMTPResponseException) and cause.code == AUTHENTICATION_REQUIRED:
        return WANTS_ENCRYPTION if "TLS" in cause.message.upper() else WANTS_PASSWORD
    if isinstance(cause, SMTPAuthenticationError) and settings.smtp_auth is SmtpAuth.XOAUTH2:
        return XOAUTH2_REFUSED
    by_words = (sentence for words, sentence in SENTENCES_BY_WORDS.items() if words in str(cause))
    by_class = (sentence for kind, sentence in SENTENCES_BY_CLASS if isinstance(cause, kind))
    return next(by_words, None) or next(by_class, None)


def _reason(cause: BaseException) -> str | None:
    match cause:
        case ssl.SSLCertVerificationError():
            return cause.verify_message.rstrip(".")
        case ssl.SSLError():
            return cause.reason
        case _:
            return None
