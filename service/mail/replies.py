"""What the relay's answers to RCPT, DATA and the final dot mean for a message."""

import re

from aiosmtplib import SMTPResponseException

from service.outbox.channel import ChannelTrouble, Fault, FinalRefusal, LaterRefusal, Refusal

CLOSING = 421  # RFC 5321, section 3.8: the relay hangs up after it, as a rule because it is busy
WRONG_CREDENTIALS = 535  # RFC 4954, section 6
NOT_AUTHENTICATED = 530, WRONG_CREDENTIALS
MAY_NOT_RELAY = 454  # what Postfix says for "Relay access denied" until it is told to say 554
# What is wrong with the recipient's address or mailbox: RFC 3463, sections 3.2 and 3.3, and RFC 7505.
# Of the others in IANA's registry 5.1.0, 5.1.7 and 5.1.8 are said about senders, 5.2.0 too (by Exchange,
# as 5.2.252), 5.1.9 of a mail that was passed on, and 5.4 and 5.7 about routes and policies.
ABOUT_RECIPIENT = re.compile(r"5\.(?:1\.(?:[1-6]|10)|2\.[1-4])(?!\d)")
POLICY = re.compile(r"[45]\.7\.\d")  # RFC 3463, section 3.8: at RCPT it says that we may not relay


def classify(exc: SMTPResponseException, *, at_rcpt: bool) -> Refusal | ChannelTrouble:
    words = describe(exc)
    if exc.code in NOT_AUTHENTICATED:
        return ChannelTrouble(words)
    if exc.code == CLOSING or (at_rcpt and exc.code == MAY_NOT_RELAY):
        return LaterRefusal(words, fault=Fault.CHANNEL)
    if not 500 <= exc.code < 600:  # noqa: PLR2004  # RFC 5321, section 4.2.1: the first digit decides
        return LaterRefusal(words)
    if ABOUT_RECIPIENT.match(exc.message):
        return FinalRefusal(words, fault=Fault.RECIPIENT)
    if at_rcpt and POLICY.match(exc.message):
        return FinalRefusal(words, fault=Fault.CHANNEL)
    return FinalRefusal(words)


def is_positive(code: int) -> bool:
    """RFC 5321, section 4.2.1: the first digit decides."""
    return 200 <= code < 300  # noqa: PLR2004  # as the RFC has it


def describe(exc: BaseException | None) -> str:
    """The relay's reply, or else the error's text, as JSON and a database can hold it."""
    text = f"{exc.code} {exc.message}" if isinstance(exc, SMTPResponseException) else str(exc)
    return to_unicode(text) or type(exc).__name__


def to_unicode(text: str) -> str:
    """Replaces the lone surrogates that aiosmtplib puts in place of bytes that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
