"""The SQL statements of the outbox, built once and run often. `repository` says what they do."""

from datetime import timedelta
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Double,
    FromClause,
    Insert,
    Select,
    Update,
    UpdateBase,
    and_,
    bindparam,
    case,
    func,
    literal,
    select,
    update,
)

from service.database.email_status import EmailStatus
from service.database.engine import Database
from service.database.json_rows import rows_from_json
from service.database.models import OUTBOX, OutboxRow
from service.database.outbox_kinds import ChannelName
from service.outbox.row import LEASE

GIVE_UP_AFTER = timedelta(days=5)
ELSEWHERE_AT_MOST = 100  # domains
PROBE_POOL = 1000  # longest due emails, one of which probes whether the relay accepts mail again

OF_EVENTS = OUTBOX.c.subject_id, OUTBOX.c.reason, OUTBOX.c.created_at
OF_FAILURES = (
    OUTBOX.c.id,
    OUTBOX.c.channel,
    OUTBOX.c.status,
    OUTBOX.c.user_id,
    OUTBOX.c.request_id,
    OUTBOX.c.last_reply,
)

POSTPONE = (
    update(OUTBOX)
    .where(OUTBOX.c.id == bindparam("of_id"))
    .values(due_at=bindparam("new_due_at"), give_up_at=bindparam("new_give_up_at"))
)


def enqueue_statement(database: Database, users: FromClause) -> Insert:
    """Inserts the parameter `emails`, encoded rows of `NewEmail` and `NewEvent`, if their user is in `users`.

    Returns the user's id and `created_at`.
    """
    emails = rows_from_json(
        database,
        OUTBOX.c.id,
        OUTBOX.c.channel,
        OUTBOX.c.kind,
        OUTBOX.c.user_id,
        OUTBOX.c.recipient,
        OUTBOX.c.domain,
        OUTBOX.c.name,
        OUTBOX.c.locale,
        OUTBOX.c.request_id,
        OUTBOX.c.attempt,
        parameter="emails",
    )
    due_at = database.clock(), database.clock(after=LEASE)
    others = {
        "status": literal(EmailStatus.PENDING),
        "deferrals": literal(0),
        "due_at": case((emails.c.attempt > 0, due_at[1]), else_=due_at[0]),
        "give_up_at": database.clock(after=GIVE_UP_AFTER),
        "created_at": users.c.created_at,
    }
    return (
        database.insert(OutboxRow)
        .from_select(
            [*emails.c.keys(), *others],
            select(*emails.c, *others.values()).where(users.c.id == emails.c.user_id),
        )
        .returning(OUTBOX.c.user_id, OUTBOX.c.created_at)
    )


def select_due(database: Database, channel: ChannelName, *columns: ColumnElement[Any]) -> Select[Any]:
    """The longest due first, up to the parameter `most`."""
    # SQLite has no row locks, and SQLAlchemy omits FOR UPDATE there.
    due = _select_due_unlocked(database, channel, *columns)
    return due.limit(bindparam("most")).with_for_update(skip_locked=True)


def select_any_overdue(database: Database, channel: ChannelName, *columns: ColumnElement[Any]) -> Select[Any]:
    oldest = _select_due_unlocked(database, channel, OUTBOX.c.id).limit(PROBE_POOL)
    of_those = select_due(database, channel, *columns).where(OUTBOX.c.id.in_(oldest))
    return of_those.order_by(None).order_by(func.random())


def select_due_elsewhere(
    database: Database, channel: ChannelName, *columns: ColumnElement[Any]
) -> Select[Any]:
    """The longest due email of each domain that is not in the parameter `refused`, encoded rows of one value.
    It skips from domain to domain in the index, however many emails a domain has."""
    pending = OUTBOX.alias("pending")
    is_pending = and_(pending.c.status == EmailStatus.PENDING, pending.c.channel == channel)
    first = select(func.min(pending.c.domain)).where(is_pending).scalar_subquery()
    domains = select(first.label("domain")).cte("domains", recursive=True)
    following = select(func.min(pending.c.domain)).where(is_pending, pending.c.domain > domains.c.domain)
    domains = domains.union_all(select(following.scalar_subquery()).where(domains.c.domain.is_not(None)))
    refused = rows_from_json(database, OUTBOX.c.domain, parameter="refused")
    oldest = _select_due_unlocked(database, channel, OUTBOX.c.id).where(OUTBOX.c.domain == domains.c.domain)
    one_of_each = (
        select(oldest.limit(1).correlate(domains).scalar_subquery())
        .where(domains.c.domain.not_in(select(refused.c.domain)))
        .limit(ELSEWHERE_AT_MOST)
    )
    # In any order, which is fair, and keeps PostgreSQL from looking for them in the order of `due_at`.
    chosen = select_due(database, channel, *columns).where(OUTBOX.c.id.in_(one_of_each))
    return chosen.order_by(None).order_by(func.random())


def make_due_statement(database: Database) -> UpdateBase:
    """Makes emails due that nobody has claimed since. The parameter `attempts` has their ids and attempts."""
    attempts = rows_from_json(database, OUTBOX.c.id, OUTBOX.c.attempt, parameter="attempts").c
    return update(OUTBOX).where(_is_latest(attempts.id, attempts.attempt)).values(due_at=database.clock())


def _select_due_unlocked(
    database: Database, channel: ChannelName, *columns: ColumnElement[Any]
) -> Select[Any]:
    is_pending = OUTBOX.c.status == EmailStatus.PENDING, OUTBOX.c.channel == channel
    return select(*columns).where(*is_pending, OUTBOX.c.due_at <= database.clock()).order_by(OUTBOX.c.due_at)


def claim_statement(
    database: Database, chosen: Select[Any], *, channel: ChannelName = ChannelName.MAIL
) -> UpdateBase:
    """Returns fields of an Email."""
    claimed = chosen.cte("due")
    return (
        update(OUTBOX)
        .where(OUTBOX.c.id.in_(select(claimed.c.id)))
        .values(attempt=OUTBOX.c.attempt + 1, due_at=database.clock(after=LEASE))
        .returning(
            OUTBOX.c.id,
            OUTBOX.c.recipient,
            OUTBOX.c.name,
            OUTBOX.c.locale,
            OUTBOX.c.request_id,
            OUTBOX.c.attempt,
            OUTBOX.c.deferrals,
            OUTBOX.c.kind,
            OUTBOX.c.user_id,
            OUTBOX.c.renewals,
            *(OF_EVENTS if channel is ChannelName.WEBHOOK else ()),
        )
    )


def record_statement(database: Database) -> Update:
    """Takes the parameter `outcomes`, encoded by `encode_outcome`.

    Fenced: a row that another process has claimed since stays as it is.
    """
    delay = Column("delay", Double)
    outcome = rows_from_json(
        database,
        OUTBOX.c.id,
        OUTBOX.c.attempt,
        OUTBOX.c.status,
        OUTBOX.c.deferrals,
        delay,
        OUTBOX.c.last_reply,
        parameter="outcomes",
    ).c
    due_at = database.clock(after=outcome.delay)
    is_expired = and_(
        outcome.status == EmailStatus.PENDING,
        outcome.last_reply.is_not(None),  # otherwise the relay was not asked
        due_at >= OUTBOX.c.give_up_at,
    )
    status = case((is_expired, EmailStatus.FAILED), else_=outcome.status)
    return (
        update(OUTBOX)
        .where(_is_latest(outcome.id, outcome.attempt))
        .values(
            status=status,
            deferrals=outcome.deferrals,
            due_at=due_at,
            last_reply=func.coalesce(outcome.last_reply, OUTBOX.c.last_reply),
            finished_at=case((status != EmailStatus.PENDING, database.clock())),
        )
    )


def _is_latest(email_id: ColumnElement[Any], attempt: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether the email still waits, and nobody has claimed it since this attempt."""
    return and_(
        OUTBOX.c.id == email_id,
        OUTBOX.c.attempt == attempt,
        OUTBOX.c.status == EmailStatus.PENDING,
    )
