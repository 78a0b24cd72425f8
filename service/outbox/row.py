"""A new email, a claimed one, what can become of it, and what that changes in its row."""

import random
import re
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from service.database.email_status import EmailStatus
from service.runtime.ids import new_id

LEASE = timedelta(seconds=60)
BACKOFF = tuple(timedelta(seconds=seconds) for seconds in (5, 15, 60, 300, 900, 3600))
MAX_REPLY = 1000  # characters of the relay's words that are kept


def lease_end() -> float:
    """Of a claim that is made now, on this process's monotonic clock."""
    return time.monotonic() + LEASE.total_seconds()


@dataclass(slots=True, eq=False)
class Email:
    """A claimed row. `held_until` is on this process's monotonic clock, because no other can jump."""

    id: UUID
    recipient: str = field(repr=False)
    name: str | None = field(repr=False)
    request_id: str
    attempt: int
    deferrals: int
    held_until: float
    locale: str | None = None  # rows of before there were languages have none
    claimed_at: datetime | None = None  # where mails have a budget

    def is_held(self) -> bool:
        return time.monotonic() < self.held_until

    def anonymous(self, text: str) -> str:
        """The text without what of it is the recipient's: it is for others to read."""
        local_part, _, domain = self.recipient.rpartition("@")
        for personal in filter(None, (self.recipient, local_part, domain, self.name)):
            text = re.sub(rf"(?<!\w){re.escape(personal)}(?!\w)", "…", text, flags=re.IGNORECASE)
        return text


@dataclass(frozen=True, slots=True)
class NewEmail:
    """What a signup puts into the outbox."""

    user_id: UUID
    recipient: str = field(repr=False)
    name: str | None = field(repr=False)
    request_id: str
    claimed: bool  # by this process, which will send it at once
    locale: str | None = None
    id: UUID = field(default_factory=new_id)
    held_until: float = field(default_factory=lease_end)

    @property
    def attempt(self) -> int:
        return int(self.claimed)

    def row(self) -> tuple[object, ...]:
        """As `enqueue_statement` takes it."""
        return (
            self.id.hex,
            self.user_id.hex,
            self.recipient,
            self.name,
            self.locale,
            self.request_id,
            self.attempt,
        )

    def as_claimed(self) -> Email | None:
        """As its claimer holds it, if it has one."""
        if not self.claimed:
            return None
        return Email(
            id=self.id,
            recipient=self.recipient,
            name=self.name,
            request_id=self.request_id,
            attempt=self.attempt,
            deferrals=0,
            held_until=self.held_until,
            locale=self.locale,
        )


@dataclass(frozen=True, slots=True)
class Sent:
    """The relay answered 250."""

    words: str


@dataclass(frozen=True, slots=True)
class Failed:
    """It will never be sent; the words are the relay's, or our reason for people."""

    words: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """A temporary refusal: this email waits longer each time, until it is given up."""

    words: str


@dataclass(frozen=True, slots=True)
class Released:
    """Not this email's fault: it costs it nothing, and anybody may claim it, after those that wait already.

    The words are what was wrong with the relay; None if it was not asked.
    """

    words: str | None = None


Outcome = Sent | Failed | Deferred | Released


def backoff(deferrals: int) -> timedelta:
    """How long to wait after the given number of refusals before this one, with full jitter."""
    longest = BACKOFF[min(deferrals, len(BACKOFF) - 1)]
    return longest * random.uniform(0.1, 1)  # noqa: S311  # spreads load, hides nothing


def outcome_row(email: Email, outcome: Outcome) -> tuple[object, ...]:
    """Id, attempt, and the new status, deferrals, delay in seconds and words, as the outbox writes them."""
    status, deferrals, delay = EmailStatus.PENDING, email.deferrals, timedelta(0)
    match outcome:
        case Sent():
            status = EmailStatus.SENT
        case Failed():
            status = EmailStatus.FAILED
        case Deferred():
            deferrals, delay = deferrals + 1, backoff(email.deferrals)
    return email.id.hex, email.attempt, status, deferrals, delay.total_seconds(), storable(outcome.words)


def storable(words: str | None) -> str | None:
    """As the column takes them: PostgreSQL refuses NUL, and aiosmtplib hands on undecodable bytes."""
    if words is None:
        return None
    return words.encode("utf-8", "replace").decode().replace("\x00", "�")[:MAX_REPLY]
