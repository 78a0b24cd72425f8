"""Every query on the outbox. Nothing else touches its rows.

A row is a status and one clock. `due_at` is a visibility time: a pending row may be claimed when
it is due, and a claim moves `due_at` ahead, so a crashed process needs no reaper. `attempt` is the
fence: each claim adds one, and every outcome is written only where it still is the claimer's.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import RowMapping, bindparam, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.batching import Batcher
from service.database import Database, table
from service.identifiers import new_id
from service.metrics import Metrics
from service.models import EmailStatus, OutboxEmail
from service.welcome.emails import Email, Outcome, changes, kept

OUTBOX = table(OutboxEmail)

LEASE = timedelta(seconds=60)
GIVE_UP_AFTER = timedelta(days=5)
ABANDON_AT_MOST = 1000  # in one transaction


@dataclass(frozen=True, slots=True)
class NewEmail:
    """What a signup puts into the outbox."""

    user_id: UUID
    recipient: str
    name: str | None
    request_id: str
    claimed: bool  # by this process, which will send it at once
    id: UUID = field(default_factory=new_id)


class Outbox:
    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._outcomes: Batcher[tuple[Email, Outcome], None] = Batcher(
            self._write_outcomes, sizes=metrics.batch_sizes.labels("outcomes")
        )

    async def enqueue(
        self, connection: AsyncConnection, emails: Sequence[NewEmail], *, now: datetime
    ) -> dict[UUID, Email]:
        """Adds the rows in the caller's transaction; returns those that are born claimed, by user."""
        if not emails:
            return {}
        held_until = time.monotonic() + LEASE.total_seconds()
        await connection.execute(
            OUTBOX.insert(),
            [
                {
                    "id": email.id,
                    "user_id": email.user_id,
                    "recipient": email.recipient,
                    "name": email.name,
                    "request_id": email.request_id,
                    "status": EmailStatus.PENDING,
                    "attempt": int(email.claimed),
                    "deferrals": 0,
                    "due_at": now + LEASE if email.claimed else now,
                    "give_up_at": now + GIVE_UP_AFTER,
                    "created_at": now,
                }
                for email in emails
            ],
        )
        return {
            email.user_id: Email(
                id=email.id,
                recipient=email.recipient,
                name=email.name,
                request_id=email.request_id,
                attempt=1,
                deferrals=0,
                give_up_at=now + GIVE_UP_AFTER,
                held_until=held_until,
            )
            for email in emails
            if email.claimed
        }

    async def claim(self, limit: int) -> list[Email]:
        """Takes up to `limit` due rows for LEASE, the longest due first. Raises DatabaseAway."""
        held_until = time.monotonic() + LEASE.total_seconds()
        async with self._database.transaction() as connection:
            now = await self._database.now(connection)
            due = (
                select(OUTBOX.c.id)
                .where(OUTBOX.c.status == EmailStatus.PENDING, OUTBOX.c.due_at <= now)
                .order_by(OUTBOX.c.due_at)
                .limit(limit)
                .with_for_update(skip_locked=True)  # SQLite has no row locks, and leaves this out
                .cte("due")
            )
            claimed = await connection.execute(
                update(OUTBOX)
                .where(OUTBOX.c.id.in_(select(due.c.id)))
                .values(attempt=OUTBOX.c.attempt + 1, due_at=now + LEASE)
                .returning(
                    OUTBOX.c.id,
                    OUTBOX.c.recipient,
                    OUTBOX.c.name,
                    OUTBOX.c.request_id,
                    OUTBOX.c.attempt,
                    OUTBOX.c.deferrals,
                    OUTBOX.c.give_up_at,
                )
            )
            return [Email(**row, held_until=held_until) for row in claimed.mappings()]

    async def renew(self, emails: Sequence[Email]) -> None:
        """Keeps what this process holds for another LEASE. Raises DatabaseAway."""
        held_until = time.monotonic() + LEASE.total_seconds()
        async with self._database.transaction() as connection:
            now = await self._database.now(connection)
            renewed = await connection.execute(
                update(OUTBOX)
                .where(
                    OUTBOX.c.status == EmailStatus.PENDING,
                    OUTBOX.c.due_at <= now + LEASE,  # later means deferred meanwhile: that stays
                    tuple_(OUTBOX.c.id, OUTBOX.c.attempt).in_(
                        [(email.id, email.attempt) for email in emails]
                    ),
                )
                .values(due_at=now + LEASE)
                .returning(OUTBOX.c.id)
            )
            still_ours = set(renewed.scalars())
        for email in emails:
            if email.id in still_ours:
                email.held_until = held_until

    async def record(self, email: Email, outcome: Outcome) -> None:
        """Writes what became of a claimed email, where it still is ours. Raises DatabaseAway."""
        await self._outcomes.submit((email, outcome), patience=None)

    async def abandon(self, reason: str) -> int:
        """Gives up what has waited past its `give_up_at`, a thousand at a time; returns how many."""
        async with self._database.transaction() as connection:
            now = await self._database.now(connection)
            hopeless = (
                select(OUTBOX.c.id)
                .where(
                    OUTBOX.c.status == EmailStatus.PENDING,
                    OUTBOX.c.due_at <= now,
                    OUTBOX.c.give_up_at <= now,
                )
                .limit(ABANDON_AT_MOST)
                .with_for_update(skip_locked=True)
                .cte("hopeless")
            )
            abandoned = await connection.execute(
                update(OUTBOX)
                .where(OUTBOX.c.id.in_(select(hopeless.c.id)))
                .values(
                    status=EmailStatus.FAILED,
                    attempt=OUTBOX.c.attempt + 1,
                    last_reply=kept(reason),
                    finished_at=now,
                )
                .returning(OUTBOX.c.id)
            )
            return len(abandoned.all())

    async def retry(self, *, email_id: UUID | None = None, failed_since: timedelta | None = None) -> int:
        """Makes failed emails due again, as if they had just been signed up for; returns how many.

        That one, those that failed within the given time, or all. Raises DatabaseAway.
        """
        async with self._database.transaction() as connection:
            now = await self._database.now(connection)
            chosen = [OUTBOX.c.status == EmailStatus.FAILED]
            if email_id:
                chosen.append(OUTBOX.c.id == email_id)
            if failed_since:
                chosen.append(OUTBOX.c.finished_at >= now - failed_since)
            retried = await connection.execute(
                update(OUTBOX)
                .where(*chosen)
                .values(
                    status=EmailStatus.PENDING,
                    deferrals=0,
                    due_at=now,
                    give_up_at=now + GIVE_UP_AFTER,
                    finished_at=None,
                )
            )
            return retried.rowcount

    async def list(self, *, status: EmailStatus | None, limit: int) -> list[RowMapping]:
        """The newest first, whole rows. Raises DatabaseAway."""
        newest = select(OUTBOX).order_by(OUTBOX.c.id.desc()).limit(limit)  # ids sort by time
        async with self._database.reading(timeout=None) as connection:
            found = await connection.execute(newest.where(OUTBOX.c.status == status) if status else newest)
            return [*found.mappings()]

    async def of_user(self, user_id: UUID) -> tuple[str, datetime | None] | None:
        """Status and the time it was finished, or None if there is no such user. Raises DatabaseAway."""
        async with self._database.reading() as connection:
            found = await connection.execute(
                select(OUTBOX.c.status, OUTBOX.c.finished_at).where(OUTBOX.c.user_id == user_id)
            )
            row = found.one_or_none()
            return (row.status, row.finished_at) if row else None

    async def waiting(self) -> tuple[int, timedelta, int]:
        """How many wait, how long the oldest is overdue, and how many failed. Raises DatabaseAway."""
        async with self._database.reading() as connection:
            now = await self._database.now(connection)
            pending, oldest = (
                await connection.execute(
                    select(func.count(), func.min(OUTBOX.c.due_at)).where(
                        OUTBOX.c.status == EmailStatus.PENDING
                    )
                )
            ).one()
            failed = await connection.scalar(
                select(func.count()).select_from(OUTBOX).where(OUTBOX.c.status == EmailStatus.FAILED)
            )
            overdue = max(now - oldest, timedelta(0)) if oldest else timedelta(0)
            return pending, overdue, failed or 0

    async def _write_outcomes(self, outcomes: Sequence[tuple[Email, Outcome]]) -> Sequence[None]:
        async with self._database.transaction() as connection:
            now = await self._database.now(connection)
            # In the order of ids, so that two replicas cannot deadlock.
            rows = [changes(email, outcome, now=now) for email, outcome in outcomes]
            await connection.execute(_WRITE_OUTCOME, sorted(rows, key=lambda row: str(row["of_id"])))
        return [None] * len(outcomes)


# Fenced: an email that somebody else has claimed since is no longer ours to write.
_WRITE_OUTCOME = (
    update(OUTBOX)
    .where(
        OUTBOX.c.id == bindparam("of_id"),
        OUTBOX.c.attempt == bindparam("of_attempt"),
        OUTBOX.c.status == EmailStatus.PENDING,
    )
    .values(
        status=bindparam("new_status"),
        deferrals=bindparam("new_deferrals"),
        due_at=bindparam("new_due_at"),
        last_reply=func.coalesce(bindparam("new_reply"), OUTBOX.c.last_reply),
        finished_at=bindparam("new_finished_at"),
    )
)
