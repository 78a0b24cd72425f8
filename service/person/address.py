"""Parses addresses: one canonical form for every spelling."""

import re
from dataclasses import dataclass

from email_validator import EmailNotValidError, validate_email

from service.person.reason import Reason, Rejected

MAX_LENGTH = 254  # RFC 5321, section 4.5.3.1.3, without the angle brackets; letters count as they were typed
RELAY_TRICKS = frozenset("%!")  # RFC 5321, appendices C and F.2: some relays still follow such routes
RESERVED_DOMAINS = ("internal", "home", "corp", "lan", "mail", "example", "alt", "localdomain")
GMAIL = ("gmail.com", "googlemail.com")  # two names of the same mailboxes

# Invisible letters and marks, which IDNA drops without a word.
DROPPED = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


class InvalidAddress(Rejected):
    pass


@dataclass(frozen=True, slots=True, repr=False)  # so that no log and no traceback shows an address
class Address:
    typed: str  # as the user typed it, trimmed
    canonical: str  # the same for all spellings: lower case, the domain in IDNA 2008 ASCII
    recipient: str  # for the envelope and the header: the local part as typed, the domain in ASCII

    @property
    def untagged(self) -> str | None:
        """The plainest address of the same mailbox, for counting; None if this is it.

        It has no `+tag`, and at Gmail, where dots mean nothing, no dot. Only limits use it: two addresses
        that share it are still two users.
        """
        local, _, domain = self.canonical.rpartition("@")
        user = local.partition("+")[0] or local
        if domain in GMAIL:
            user, domain = user.replace(".", ""), GMAIL[0]
        plain = f"{user}@{domain}"
        return plain if plain != self.canonical else None


def parse(typed: str) -> Address:
    """Raises InvalidAddress."""
    typed = typed.strip(" ")  # spaces only: a line break at the end is no typo
    if not typed:
        raise InvalidAddress(Reason.EMAIL_MISSING)
    if len(typed) > MAX_LENGTH:
        raise InvalidAddress(Reason.EMAIL_TOO_LONG)
    if DROPPED.search(typed):
        raise InvalidAddress(Reason.EMAIL_INVISIBLE)
    try:
        valid = validate_email(typed, allow_smtputf8=False, check_deliverability=False, strict=True)
    except EmailNotValidError as exc:
        raise InvalidAddress(Reason.EMAIL_INVALID) from exc
    domain = valid.ascii_domain.lower()
    if RELAY_TRICKS & set(valid.local_part) or domain.rpartition(".")[2] in RESERVED_DOMAINS:
        raise InvalidAddress(Reason.EMAIL_UNDELIVERABLE)
    recipient = f"{valid.local_part}@{domain}"
    return Address(typed=typed, canonical=recipient.lower(), recipient=recipient)
