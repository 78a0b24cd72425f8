"""What an operator does with emails: count them, look at them, send failed ones again."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, func, select, update

from service.database.email_status import EmailStatus
from service.database.engine import Database
from service.database.models import OUTBOX
from service.outbox.row import LEASE
from service.outbox.sql import GIVE_UP_AFTER

RETRY_AT_ONCE = 1_000  # in one transaction: a short one, so that nobody waits behind it

NO_TIME = timedelta(0)


@dataclass(frozen=True)
class QueueDepth:
    pending: int
    failed: int
    oldest: timedelta  # since the signup of the email that has waited longest
    overdue: timedelta  # the same, of those that no refusal and no budget asks to wait


class OutboxAdmin:
    """Every method raises DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def queue_depth(self) -> QueueDepth:
        oldest = func.min(OUTBOX.c.created_at)
        could_leave = (OUTBOX.c.deferrals == 0) & (OUTBOX.c.due_at <= self._database.clock(after=LEASE))
        async with self._database.read_only() as connection:
            now = await self._database.now(connection)
            found = await connection.execute(
                select(func.count(), oldest, oldest.filter(could_leave)).where(
                    OUTBOX.c.status == EmailStatus.PENDING
                )
            )
            pending, oldest_at, overdue_at = found.one()
            failed = await connection.scalar(
                select(func.count()).select_from(OUTBOX).where(OUTBOX.c.status == EmailStatus.FAILED)
            )
        return QueueDepth(
            pending, failed or 0, oldest=_since(oldest_at, now), overdue=_since(overdue_at, now)
        )

    async def newest(self, limit: int, *, status: EmailStatus | None = None) -> Sequence[RowMapping]:
        newest = select(OUTBOX).order_by(OUTBOX.c.id.desc()).limit(limit)  # ids sort by time
        async with self._database.read_only(timeout=None) as connection:
            found = await connection.execute(newest.where(OUTBOX.c.status == status) if status else newest)
            return found.mappings().all()

    async def last_taken(self) -> str | None:
        """What the relay said to the newest email that was sent."""
        newest = select(OUTBOX.c.last_reply).where(OUTBOX.c.status == EmailStatus.SENT)
        async with self._database.read_only(timeout=None) as connection:
            words: str | None = await connection.scalar(newest.order_by(OUTBOX.c.id.desc()).limit(1))
            return words

    async def count_failed(
        self, *, email_id: UUID | None = None, failed_since: timedelta | None = None
    ) -> int:
        """That one, those that failed within the given time, or all."""
        chosen = self._failed(email_id, failed_since)
        async with self._database.read_only(timeout=None) as connection:
            return await connection.scalar(select(func.count()).select_from(OUTBOX).where(*chosen)) or 0

    async def retry(
        self, *, email_id: UUID | None = None, failed_since: timedelta | None = None
    ) -> AsyncIterator[int]:
        """Makes failed emails due again, as if they had just been signed up for; says after each
        transaction how many. Those that fail meanwhile are left as they are."""
        async with self._database.read_only(timeout=None) as connection:
            now = await self._database.now(connection)
        chosen = [*self._failed(email_id, failed_since), OUTBOX.c.finished_at <= now]
        while retried := await self._retry_some(chosen):
            yield retried

    async def _retry_some(self, chosen: Sequence[ColumnElement[bool]]) -> int:
        some = select(OUTBOX.c.id).where(*chosen).limit(RETRY_AT_ONCE).with_for_update(skip_locked=True)
        async with self._database.single_statement() as connection:
            retried = await connection.execute(
                update(OUTBOX)
                .where(OUTBOX.c.id.in_(select(some.cte("some").c.id)))
                .values(
                    status=EmailStatus.PENDING,
                    deferrals=0,
                    due_at=self._database.clock(),
                    give_up_at=self._database.clock(after=GIVE_UP_AFTER),
                    finished_at=None,
                )
                .returning(OUTBOX.c.id)
            )
            return len(retried.all())

    def _failed(self, email_id: UUID | None, failed_since: timedelta | None) -> list[ColumnElement[bool]]:
        chosen = [OUTBOX.c.status == EmailStatus.FAILED]
        if email_id:
            chosen.append(OUTBOX.c.id == email_id)
        if failed_since:
            chosen.append(OUTBOX.c.finished_at >= self._database.clock(after=-failed_since))
        return chosen


def _since(moment: datetime | None, now: datetime) -> timedelta:
    return max(now - moment, NO_TIME) if moment else NO_TIME
