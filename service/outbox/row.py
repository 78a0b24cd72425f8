"""New and claimed rows, the outcomes of a delivery, and what an outcome changes in the row."""

import random
import re
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from service.database.email_status import EmailStatus
from service.database.outbox_kinds import ChannelName, Kind
from service.runtime.ids import new_id

LEASE = timedelta(seconds=60)
BACKOFF = tuple(timedelta(seconds=seconds) for seconds in (5, 15, 60, 300, 900, 3600))
MAX_REPLY = 1000  # characters of the relay's reply that are kept


def lease_end() -> float:
    """The end of a claim made now, on this process's monotonic clock."""
    return time.monotonic() + LEASE.total_seconds()


@dataclass(slots=True, eq=False)
class Email:
    """A claimed row: an email, or an event, which is delivered the same way.

    `held_until` is on this process's monotonic clock, the only one that cannot jump.
    """

    id: UUID
    recipient: str = field(repr=False)
    name: str | None = field(repr=False)
    request_id: str
    attempt: int
    deferrals: int
    held_until: float
    locale: str | None = None  # None in rows that are older than languages
    claimed_at: datetime | None = None  # None without a send quota
    kind: str = Kind.WELCOME
    user_id: UUID | None = None
    renewals: int | None = None
    # Of events only:
    subject_id: UUID | None = None
    reason: str | None = field(default=None, repr=False)
    created_at: datetime | None = None

    @property
    def domain(self) -> str:
        return get_domain(self.recipient)

    def is_held(self) -> bool:
        return time.monotonic() < self.held_until

    def redact(self, text: str) -> str:
        """The text without the recipient's address and name, for logs and for /readyz."""
        local_part, _, domain = self.recipient.rpartition("@")
        for personal in filter(None, (self.recipient, local_part, domain, self.name)):
            text = re.sub(rf"(?<!\w){re.escape(personal)}(?!\w)", "…", text, flags=re.IGNORECASE)
        return text


@dataclass(frozen=True, slots=True)
class NewEmail:
    """An email that a signup adds to the outbox."""

    user_id: UUID
    recipient: str = field(repr=False)
    name: str | None = field(repr=False)
    request_id: str
    claimed: bool  # by this process, which sends it at once
    locale: str | None = None
    kind: Kind = Kind.WELCOME
    id: UUID = field(default_factory=new_id)
    held_until: float = field(default_factory=lease_end)

    @property
    def attempt(self) -> int:
        return int(self.claimed)

    def row(self) -> tuple[object, ...]:
        """For `enqueue_statement`."""
        return (
            self.id.hex,
            ChannelName.MAIL,
            self.kind,
            self.user_id.hex,
            self.recipient,
            get_domain(self.recipient),
            self.name,
            self.locale,
            self.request_id,
            self.attempt,
        )

    def to_claimed(self) -> Email | None:
        """The claimed row, for the process that claimed it; None if no process did."""
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
            kind=self.kind,
            user_id=self.user_id,
        )


@dataclass(frozen=True, slots=True)
class NewEvent:
    """The event `user.created`, which a signup adds to the outbox."""

    user_id: UUID
    request_id: str
    id: UUID = field(default_factory=new_id)

    def row(self) -> tuple[object, ...]:
        """For `enqueue_statement`."""
        kind = Kind.USER_CREATED
        none = "", "", None, None  # recipient, domain, name, locale
        return self.id.hex, kind.channel, kind, self.user_id.hex, *none, self.request_id, 0


@dataclass(frozen=True, slots=True)
class Sent:
    """The relay accepted it, or the endpoint of events did."""

    reply: str


@dataclass(frozen=True, slots=True)
class Failed:
    """It will never be sent. `reply` is the relay's, or a sentence of ours that says why."""

    reply: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """Refused temporarily: the email waits longer each time, until it is given up."""

    reply: str
    at_least: float = 0.0  # s


@dataclass(frozen=True, slots=True)
class Released:
    """Not this email's fault. It is due again at once, behind all that are due already.

    `reply` says what was wrong with the relay; None if the relay was not asked.
    """

    reply: str | None = None
    delay: float = 0.0  # s until it is due


Outcome = Sent | Failed | Deferred | Released


def get_domain(recipient: str) -> str:
    return recipient.rpartition("@")[2].lower()


def backoff(deferrals: int) -> timedelta:
    """How long to wait after this refusal, given the number of those before it. With full jitter."""
    longest = BACKOFF[min(deferrals, len(BACKOFF) - 1)]
    return longest * random.uniform(0.1, 1)  # noqa: S311  # spreads load; not a secret


def encode_outcome(email: Email, outcome: Outcome) -> tuple[object, ...]:
    """Id and attempt, and the row's new status, deferrals, delay in seconds and reply."""
    status, deferrals, delay = EmailStatus.PENDING, email.deferrals, timedelta(0)
    match outcome:
        case Sent():
            status = EmailStatus.SENT
        case Failed():
            status = EmailStatus.FAILED
        case Deferred():
            delay = max(backoff(deferrals), timedelta(seconds=outcome.at_least))
            deferrals += 1
        case Released():
            delay = timedelta(seconds=outcome.delay)
    return email.id.hex, email.attempt, status, deferrals, delay.total_seconds(), clip_reply(outcome.reply)


def clip_reply(reply: str | None) -> str | None:
    """What the column can hold: PostgreSQL refuses NUL, and nothing can encode a lone surrogate."""
    if reply is None:
        return None
    return reply.encode("utf-8", "replace").decode().replace("\x00", "�")[:MAX_REPLY]
