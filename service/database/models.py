"""The tables."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, Text, text
from sqlalchemy.schema import Table
from sqlmodel import Field, SQLModel

from service.database.email_status import EmailStatus
from service.database.outbox_kinds import ChannelName, Kind

MAX_LANGUAGE_TAG = 35  # characters of a language tag; RFC 5646, section 4.4.1

# Migrations rely on these names; without a convention each database would invent its own.
SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class User(SQLModel, table=True):
    """Who signed up."""

    __tablename__ = "users"
    __table_args__ = (
        # Partial, because few addresses have a tag.
        Index(
            "ix_users_untagged_email",
            "untagged_email",
            "created_at",
            postgresql_where=text("untagged_email IS NOT NULL"),
            sqlite_where=text("untagged_email IS NOT NULL"),
        ),
        # Partial: it serves only the search for users who have not confirmed.
        Index(
            "ix_users_confirmation_asked_at",
            "confirmation_asked_at",
            postgresql_where=text("confirmed_at IS NULL AND confirmation_asked_at IS NOT NULL"),
            sqlite_where=text("confirmed_at IS NULL AND confirmation_asked_at IS NOT NULL"),
        ),
    )

    id: UUID = Field(primary_key=True)
    email: str = Field(max_length=320)  # as typed, trimmed
    canonical_email: str = Field(max_length=254, unique=True)  # the same for all spellings of the address
    untagged_email: str | None = Field(default=None, max_length=254)  # without the +tag, if there is one
    name: str | None = Field(default=None, max_length=100)
    locale: str | None = Field(
        default=None, max_length=MAX_LANGUAGE_TAG
    )  # the language of mails to this user
    idempotency_key: str | None = Field(default=None, max_length=255, unique=True)
    created_at: datetime
    # When they were last asked to confirm the address; None if CONFIRMATION was off when they signed up.
    confirmation_asked_at: datetime | None = None
    confirmed_at: datetime | None = None


class OutboxRow(SQLModel, table=True):
    """What is owed to the outside because of a signup: an email with everything that is needed to send it, or
    an event, whose content is made when it is sent."""

    __tablename__ = "outbox"
    __table_args__ = (
        # Partial: claims look at waiting rows only, so a million finished ones do not slow them down.
        Index(
            "ix_outbox_due",
            "channel",
            "due_at",
            postgresql_where=text("status = 'pending'"),
            sqlite_where=text("status = 'pending'"),
        ),
        # To find what waits for other domains than those whose mail is refused, and what waits for one.
        Index(
            "ix_outbox_domain",
            "channel",
            "domain",
            "due_at",
            postgresql_where=text("status = 'pending'"),
            sqlite_where=text("status = 'pending'"),
        ),
        Index(
            "ix_outbox_failed",
            "finished_at",
            postgresql_where=text("status = 'failed'"),
            sqlite_where=text("status = 'failed'"),
        ),
        CheckConstraint("status IN ('pending', 'sent', 'failed')", name="status"),
    )

    id: UUID = Field(primary_key=True)
    channel: str = Field(default=ChannelName.MAIL, max_length=7, sa_column_kwargs={"server_default": "mail"})
    kind: str = Field(default=Kind.WELCOME, max_length=20, sa_column_kwargs={"server_default": "welcome"})
    # None for `user.erased`, which outlives the user; all else is erased with them.
    user_id: UUID | None = Field(default=None, foreign_key="users.id", ondelete="CASCADE", index=True)
    subject_id: UUID | None = None  # what an event is about: the erased user, or the failed email
    reason: str | None = Field(default=None, max_length=1000)  # why that email failed
    recipient: str = Field(max_length=320)  # in ASCII, for the envelope and the header; empty for an event
    domain: str = Field(max_length=255)  # of the recipient, in lower case
    name: str | None = Field(default=None, max_length=100)
    locale: str | None = Field(default=None, max_length=MAX_LANGUAGE_TAG)
    request_id: str = Field(max_length=64)  # of the request that owes it, to join logs
    status: str = Field(default=EmailStatus.PENDING, max_length=7)
    attempt: int = 0  # one more with each claim; outcomes of older attempts are ignored
    deferrals: int = 0  # temporary refusals so far; decides the backoff
    # How often it was asked for again: each time it is another mail, with a Message-ID of its own.
    renewals: int | None = None
    due_at: datetime = Field()  # when a pending row may be claimed
    give_up_at: datetime
    last_reply: str | None = Field(
        default=None, max_length=1000
    )  # what the relay or the endpoint said, or our reason
    created_at: datetime
    finished_at: datetime | None = None


class LinkKey(SQLModel, table=True):
    """One row, which the migration made: what links are signed with unless LINK_KEY is set."""

    __tablename__ = "link_key"

    key: str = Field(primary_key=True, max_length=64)


class AuditEntry(SQLModel, table=True):
    """One request's record. Never a body, an address, a name or a query string."""

    __tablename__ = "audit_log"
    __table_args__ = (Index("ix_audit_log_occurred_at", "occurred_at"),)

    instance: UUID = Field(primary_key=True)  # the process that answered
    seq: int = Field(primary_key=True, sa_type=BigInteger)  # without gaps within the instance
    occurred_at: datetime
    request_id: str = Field(max_length=64, index=True)
    method: str = Field(max_length=32)
    route: str | None = Field(default=None, max_length=200)  # the route's template, not the path
    status: int
    duration_us: int = Field(sa_type=BigInteger)
    response_bytes: int = Field(sa_type=BigInteger)
    user_id: UUID | None = None
    client_network: str | None = Field(default=None, max_length=43)  # /24 or /48
    digest: str = Field(max_length=64)  # keyed BLAKE2b of the other columns, in hexadecimal


class AuditInstance(SQLModel, table=True):
    """What the table should hold of one process's entries; `audit verify` compares. Never deleted."""

    __tablename__ = "audit_instances"

    instance: UUID = Field(primary_key=True)
    first_seq: int = Field(sa_type=BigInteger)  # more than 1 where retention has deleted entries
    last_seq: int = Field(sa_type=BigInteger)
    digest: str = Field(max_length=64)  # keyed BLAKE2b of the three, in hexadecimal


class RateCount(SQLModel, table=True):
    """How much of a limit all replicas have used up together."""

    __tablename__ = "rate_counts"

    ends_at: datetime = Field(primary_key=True)  # the end of the time window, which identifies it
    scope: str = Field(primary_key=True, max_length=300)  # what is limited, such as one client network
    count: int


class SharedCounter(SQLModel, table=True):
    """What one process has counted since it started. The sum of all rows is what all processes counted."""

    __tablename__ = "shared_counters"

    process: UUID = Field(primary_key=True)
    counted: str = Field(sa_type=Text)  # a JSON object: the series and its value
    updated_at: datetime
    is_folded: bool = False  # added to the row of ended processes, and no longer part of the sum


def table(model: type[SQLModel]) -> Table:
    """The table of a model, for statements that move many rows at once."""
    found: Table = model.__table__  # type: ignore[attr-defined]  # set by SQLModel's metaclass
    return found


USERS = table(User)
OUTBOX = table(OutboxRow)
LINK_KEY = table(LinkKey)
AUDIT_LOG = table(AuditEntry)
AUDIT_INSTANCES = table(AuditInstance)
