"""An operator's actions on emails and events: list, count, retry and drop them."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, and_, func, literal_column, or_, select, update

from service.database.email_status import EmailStatus
from service.database.engine import Database
from service.database.models import OUTBOX, USERS
from service.database.outbox_kinds import ChannelName, Kind
from service.outbox.events import Events
from service.outbox.row import LEASE
from service.outbox.sql import GIVE_UP_AFTER, OF_FAILURES
from service.person import address as addresses

BATCH = 1_000  # emails in one transaction, which must be short so that nobody waits for it
DROPPED = "Dropped by an operator."
ID_DIGITS = 32

NO_TIME = timedelta(0)


@dataclass(frozen=True)
class QueueDepth:
    pending: int
    failed: int
    oldest: timedelta  # since the signup of the email that has waited longest
    overdue: timedelta  # the same, without emails that wait because of a refusal or a quota


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Selects emails for which all fields that are set apply. With no field set it selects all emails."""

    email_id: UUID | None = None
    address: str | None = None  # in any spelling
    domain: str | None = None  # of the recipient, in Unicode or ASCII
    kind: Kind | None = None
    failed_since: timedelta | None = None  # only emails that failed within this time

    def conditions(self, database: Database) -> list[ColumnElement[bool]]:
        chosen = []
        if self.email_id:
            chosen.append(OUTBOX.c.id == self.email_id)
        if self.address is not None:
            chosen.append(_has_address(self.address))
        if self.domain is not None:
            chosen.append(OUTBOX.c.domain == _to_ascii(self.domain))
        if self.kind is not None:
            chosen += [OUTBOX.c.channel == self.kind.channel, OUTBOX.c.kind == self.kind]
        if self.failed_since:
            chosen.append(OUTBOX.c.status == EmailStatus.FAILED)
            chosen.append(OUTBOX.c.finished_at >= database.clock(after=-self.failed_since))
        return chosen


EVERYTHING = Selection()
# The columns of the indexes on these states, so that a list is as fast with a million rows as with ten.
BY_TIME = {EmailStatus.PENDING: OUTBOX.c.due_at, EmailStatus.FAILED: OUTBOX.c.finished_at}


class OutboxAdmin:
    """Every method raises DatabaseUnavailable."""

    def __init__(self, database: Database, events: Events | None = None) -> None:
        self._database = database
        self._events = events

    async def queue_depth(self, channel: ChannelName = ChannelName.MAIL) -> QueueDepth:
        return (await self.queue_depths())[channel]

    async def queue_depths(self) -> Mapping[ChannelName, QueueDepth]:
        """Of every channel."""
        oldest = func.min(OUTBOX.c.created_at)
        could_leave = (OUTBOX.c.deferrals == 0) & (OUTBOX.c.due_at <= self._database.clock(after=LEASE))
        waiting = select(OUTBOX.c.channel, func.count(), oldest, oldest.filter(could_leave))
        failed = select(OUTBOX.c.channel, func.count())
        async with self._database.read_only() as connection:
            now = await self._database.now(connection)
            found = await connection.execute(
                waiting.where(OUTBOX.c.status == EmailStatus.PENDING).group_by(OUTBOX.c.channel)
            )
            pending = {channel: rest for channel, *rest in found}
            found = await connection.execute(
                failed.where(OUTBOX.c.status == EmailStatus.FAILED).group_by(OUTBOX.c.channel)
            )
            failures = {channel: count for channel, count in found}
        depths = {}
        for channel in ChannelName:
            count, oldest_at, overdue_at = pending.get(channel, (0, None, None))
            depths[channel] = QueueDepth(
                count,
                failures.get(channel, 0),
                oldest=_elapsed(oldest_at, now),
                overdue=_elapsed(overdue_at, now),
            )
        return depths

    async def find(self, prefix: str) -> Sequence[UUID]:
        """The ids that begin with these hexadecimal digits, with or without hyphens. At most two, which is
        enough to see that the beginning is not unique."""
        digits = prefix.replace("-", "").lower()
        if not re.fullmatch(rf"[0-9a-f]{{1,{ID_DIGITS}}}", digits):
            return []
        first, last = (UUID(digits.ljust(ID_DIGITS, digit)) for digit in "0f")
        found = select(OUTBOX.c.id).where(OUTBOX.c.id.between(first, last)).order_by(OUTBOX.c.id).limit(2)
        async with self._database.read_only(timeout=None) as connection:
            return (await connection.execute(found)).scalars().all()

    async def find_newest(
        self,
        limit: int,
        *,
        status: EmailStatus | None = None,
        selection: Selection = EVERYTHING,
    ) -> Sequence[RowMapping]:
        """The newest rows first. With a status, those with the latest time first."""
        chosen = selection.conditions(self._database)
        newest = OUTBOX.c.id  # ids sort by time
        if status:
            # A literal: with a parameter SQLite would not use the partial index.
            chosen.append(OUTBOX.c.status == literal_column(f"'{status}'"))
            newest = BY_TIME.get(status, newest)
        listed = select(OUTBOX).where(*chosen).order_by(newest.desc()).limit(limit)
        lists = [listed]
        if status is EmailStatus.PENDING:  # one channel after the other, as in the index
            lists = [listed.where(OUTBOX.c.channel == channel) for channel in ChannelName]
        async with self._database.read_only(timeout=None) as connection:
            found = [row for each in lists for row in (await connection.execute(each)).mappings()]
        return sorted(found, key=lambda row: row[newest.name], reverse=True)[:limit]

    async def last_accepted_reply(self) -> str | None:
        """What the relay said to the newest email that was sent."""
        newest = select(OUTBOX.c.last_reply).where(
            OUTBOX.c.status == EmailStatus.SENT, OUTBOX.c.channel == ChannelName.MAIL
        )
        async with self._database.read_only(timeout=None) as connection:
            reply: str | None = await connection.scalar(newest.order_by(OUTBOX.c.id.desc()).limit(1))
            return reply

    async def count_retryable(self, selection: Selection = EVERYTHING) -> int:
        """How many `retry` would make due."""
        return await self._count(self._retryable(selection))

    async def retry(self, selection: Selection = EVERYTHING) -> AsyncIterator[Counter[str]]:
        """Makes failed emails, and those that wait after a refusal, due as if they were new. Yields for each
        transaction the number of rows by channel. Emails that fail meanwhile are not retried."""
        async with self._database.read_only(timeout=None) as connection:
            now = await self._database.now(connection)
        failed_before = or_(OUTBOX.c.finished_at.is_(None), OUTBOX.c.finished_at <= now)
        changes = {
            "status": EmailStatus.PENDING,
            "deferrals": 0,
            "due_at": self._database.clock(),
            "give_up_at": self._database.clock(after=GIVE_UP_AFTER),
            "finished_at": None,
        }
        async for counts in self._change([*self._retryable(selection), failed_before], changes):
            yield counts

    async def count_droppable(self, selection: Selection) -> int:
        """How many `drop` would fail."""
        return await self._count(self._droppable(selection))

    async def drop(self, selection: Selection) -> AsyncIterator[Counter[str]]:
        """Fails waiting emails, or the one row that is selected by its id. Yields for each transaction the
        number of rows by channel. For up to a minute a process may still send what it has claimed."""
        changes = {
            "status": EmailStatus.FAILED,
            "attempt": OUTBOX.c.attempt + 1,
            "last_reply": DROPPED,
            "finished_at": self._database.clock(),
        }
        async for counts in self._change(self._droppable(selection), changes):
            yield counts

    def _retryable(self, selection: Selection) -> list[ColumnElement[bool]]:
        # A process may hold an email that is due within a LEASE. It would not notice, and the email would be
        # sent twice.
        waits = and_(
            OUTBOX.c.status == EmailStatus.PENDING, OUTBOX.c.due_at > self._database.clock(after=LEASE)
        )
        return [
            or_(OUTBOX.c.status == EmailStatus.FAILED, waits),
            *selection.conditions(self._database),
        ]

    def _droppable(self, selection: Selection) -> list[ColumnElement[bool]]:
        chosen = [OUTBOX.c.status == EmailStatus.PENDING, *selection.conditions(self._database)]
        if not selection.email_id:  # an event is dropped one by one: each drop of an email adds one
            chosen.append(OUTBOX.c.channel == ChannelName.MAIL)
        return chosen

    async def _count(self, chosen: Sequence[ColumnElement[bool]]) -> int:
        async with self._database.read_only(timeout=None) as connection:
            return await connection.scalar(select(func.count()).select_from(OUTBOX).where(*chosen)) or 0

    async def _change(
        self, chosen: Sequence[ColumnElement[bool]], changes: Mapping[str, Any]
    ) -> AsyncIterator[Counter[str]]:
        """In order of ids, so that no email is changed twice, whatever happens meanwhile."""
        last = UUID(int=0)
        while rows := await self._change_batch([*chosen, OUTBOX.c.id > last], changes):
            last = max(row["id"] for row in rows)
            yield Counter(row["channel"] for row in rows)

    async def _change_batch(
        self, chosen: Sequence[ColumnElement[bool]], changes: Mapping[str, Any]
    ) -> Sequence[RowMapping]:
        batch = (
            select(OUTBOX.c.id)
            .where(*chosen)
            .order_by(OUTBOX.c.id)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
            .cte("batch")
        )
        events = self._events if changes["status"] is EmailStatus.FAILED else None
        begin = self._database.transaction if events else self._database.single_statement
        async with begin() as connection:
            changed = await connection.execute(
                update(OUTBOX)
                .where(OUTBOX.c.id.in_(select(batch.c.id)))
                .values(**changes)
                .returning(*OF_FAILURES)
            )
            rows = changed.mappings().all()
            if events:
                await events.add_failed(connection, rows)
            return rows


def _has_address(address: str) -> ColumnElement[bool]:
    try:
        canonical = addresses.parse(address).canonical
    except addresses.InvalidAddress:
        return func.lower(OUTBOX.c.recipient) == address.strip().lower()
    return OUTBOX.c.user_id.in_(select(USERS.c.id).where(USERS.c.canonical_email == canonical))


def _to_ascii(domain: str) -> str:
    """The IDNA form. Anything that is not a domain stays as it is, and matches no email."""
    domain = domain.strip().lower().removeprefix("@")
    try:
        return addresses.parse(f"anybody@{domain}").canonical.rpartition("@")[2]
    except addresses.InvalidAddress:
        return domain


def _elapsed(moment: datetime | None, now: datetime) -> timedelta:
    return max(now - moment, NO_TIME) if moment else NO_TIME
