"""Checks the promise: compares what clients were answered, what the SMTP server and the receiver of events
got, and what the database holds."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from service.database.engine import Database
from service.database.outbox_kinds import Kind
from tests.support.database import rows
from tests.support.receiver import Receiver
from tests.support.relay import Envelope, ScriptedRelay


@dataclass
class Answers:
    """What clients were answered."""

    confirmed: dict[str, str] = field(default_factory=dict)  # address -> id of the user
    clicked: dict[str, str] = field(
        default_factory=dict
    )  # the same, whose confirmation link was answered 200
    request_ids: set[str] = field(default_factory=set)  # of all responses that arrived completely
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    broken: int = 0  # connections that ended without a response

    def percentile(self, share: float) -> float:
        return sorted(self.seconds)[int(share * (len(self.seconds) - 1))] if self.seconds else 0.0


COLUMNS = (
    ("confirmed", "confirmed"),
    ("not stored", "lost_users"),
    ("neither mailed nor failed", "lost_mails"),
    ("sent twice", "duplicates"),
    ("allowed", "allowed_duplicates"),
    ("mailed but not stored", "strangers"),
    ("not handed on", "lost_events"),
    ("not audited", "unaudited"),
    ("5xx except 503", "errors"),
    ("stuck", "stuck"),
)

EXPLANATION = """\
# What happens when things break

`make faults` breaks the service, its database and its relay in the ways below. Then it compares what clients
were answered, what the SMTP server received, and what the database holds.

- **confirmed**: signups that were answered with a 2xx
- the rows C1 to C4 are with `CONFIRMATION=link`: links that were answered with a 2xx and led to no welcome
  mail or event count too, and so do welcome mails to addresses that are not confirmed
- **not stored**, **neither mailed nor failed**: how many of them were lost
- **sent twice**: mails beyond the first one for a signup
- **allowed**: how many of these may occur, because a process, the relay or the database went away after the
  relay had accepted the mail and before that was recorded
- **mailed but not stored**: mails to people who are not in the database
- **not handed on**: accepted signups whose event the receiver did not get, or got with two ids (where one
  listens)
- **not audited**: responses without an audit entry
- **5xx except 503**: errors that no client should see
- **stuck**: emails that are overdue by more than two minutes
- **p99**: 99 % of the responses took at most this long

Everything that is lost, missing, wrong or stuck must be 0, and "sent twice" at most "allowed".

"""


@dataclass(frozen=True)
class Figures:
    """The numbers of a row of the table."""

    confirmed: int
    lost_users: int  # I1: confirmed - stored
    lost_mails: int  # I2: confirmed - (mailed or failed), and links that were used - (welcomed or failed)
    duplicates: int  # I3: mails beyond the first, per signup
    allowed_duplicates: int  # I3: being sent at each kill, plus unknown outcomes
    strangers: int  # I4: mailed - stored, and welcomed without having confirmed
    unaudited: int  # I5: answers - audited
    errors: int  # I6: answers of 500 and above that are not 503
    stuck: int  # I8: pending rows overdue by more than two minutes
    double_users: int  # I9: users beyond one per canonical address
    changed_message_ids: int  # repeats with another Message-ID than the first mail
    p99_ms: float
    lost_events: int = 0  # confirmed - handed on, and events with more than one id

    @staticmethod
    def heading() -> str:
        names = ["fault", "what", "database", *(label for label, _ in COLUMNS), "p99"]
        return f"| {' | '.join(names)} |\n|{'---|' * len(names)}"

    def row(self, fault: str, what: str, engine: str) -> str:
        numbers = [str(getattr(self, name)) for _, name in COLUMNS]
        return f"| {' | '.join([fault, what, engine, *numbers, f'{self.p99_ms:.0f} ms'])} |"

    @property
    def kept(self) -> bool:
        """Whether the promise was kept."""
        nothing = (
            self.lost_users,
            self.lost_mails,
            self.strangers,
            self.unaudited,
            self.errors,
            self.stuck,
            self.double_users,
            self.changed_message_ids,
            self.lost_events,
        )
        return not any(nothing) and self.duplicates <= self.allowed_duplicates


async def figures(
    answers: Answers,
    relay: ScriptedRelay,
    database: Database,
    *,
    receiver: Receiver | None = None,
    allowed_duplicates: int = 0,
) -> Figures:
    users = await rows(database, "SELECT * FROM users")
    emails = await rows(database, "SELECT * FROM outbox WHERE channel = 'mail'")
    audited = {row["request_id"] for row in await rows(database, "SELECT request_id FROM audit_log")}
    mails = Counter(_mail(envelope) for envelope in relay.accepted)
    mailed = {recipient for recipient, _ in mails}
    welcomed = {recipient for recipient, kind in mails if kind is Kind.WELCOME}
    failures = [row for row in emails if row["status"] == "failed" and row["last_reply"]]
    failed = {row["recipient"] for row in failures}
    unwelcome = {row["recipient"] for row in failures if row["kind"] == Kind.WELCOME}
    stored = {row["email"] for row in users}
    waiting = {row["email"] for row in users if row["confirmation_asked_at"] and not row["confirmed_at"]}
    return Figures(
        confirmed=len(answers.confirmed),
        lost_users=len(set(answers.confirmed) - stored),
        lost_mails=len(set(answers.confirmed) - mailed - failed)
        + len(set(answers.clicked) - welcomed - unwelcome),
        duplicates=sum(count - 1 for count in mails.values()),
        allowed_duplicates=allowed_duplicates,
        strangers=len(mailed - stored) + len(welcomed & waiting),
        unaudited=len(answers.request_ids - audited),
        errors=sum(count for status, count in answers.statuses.items() if status >= 500 and status != 503),
        stuck=await _stuck(database),
        double_users=len(users) - len({row["canonical_email"] for row in users}),
        changed_message_ids=_changed_message_ids(relay),
        p99_ms=answers.percentile(0.99) * 1000,
        lost_events=_lost_events(Kind.USER_CREATED, answers.confirmed, receiver)
        + _lost_events(Kind.USER_CONFIRMED, answers.clicked, receiver),
    )


def _mail(envelope: Envelope) -> tuple[str, Kind]:
    return envelope.recipient, Kind.CONFIRMATION if b"/confirm/" in envelope.content else Kind.WELCOME


def _lost_events(kind: Kind, users: Mapping[str, str], receiver: Receiver | None) -> int:
    """One id for each user, however often it came."""
    if receiver is None:
        return 0
    ids: dict[str, set[str]] = {}
    for received in receiver.taken:
        if received.event["type"] == kind:
            ids.setdefault(received.event["data"]["id"], set()).add(received.id)
    lost = set(users.values()) - set(ids)
    return len(lost) + sum(len(seen) - 1 for seen in ids.values())


async def _stuck(database: Database) -> int:
    async with database.read_only() as connection:
        overdue = await database.now(connection) - timedelta(minutes=2)
    found: list[Any] = await rows(database, "SELECT due_at FROM outbox WHERE status = 'pending'")
    return sum(str(row["due_at"])[:19] < overdue.strftime("%Y-%m-%d %H:%M:%S") for row in found)


def _changed_message_ids(relay: ScriptedRelay) -> int:
    ids: dict[tuple[str, Kind], set[str]] = {}
    for envelope in [*relay.accepted, *relay.unanswered]:
        ids.setdefault(_mail(envelope), set()).add(envelope.message_id)
    return sum(len(seen) - 1 for seen in ids.values())
