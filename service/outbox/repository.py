"""Claims rows of the outbox, renews claims and records outcomes, for one channel.

A pending row may be claimed when its `due_at` has passed. A claim moves `due_at` ahead, so the rows of a
crashed process become due again by themselves. `attempt` is the fence: each claim adds one, and an outcome is
written only if `attempt` is still the claim's.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.email_status import EmailStatus
from service.database.engine import Database
from service.database.group_commit import GroupCommit
from service.database.json_rows import encode_rows
from service.database.models import OUTBOX
from service.database.outbox_kinds import ChannelName, Kind
from service.observability.metrics import Metrics
from service.outbox import sql
from service.outbox.events import Events
from service.outbox.row import LEASE, Email, Outcome, Released, Sent, clip_reply, encode_outcome, lease_end
from service.outbox.send_quota import QuotaDecision, SendQuota

GATHER = 0.005  # s; fills batches, which gives a quarter more mails per second
FAIL_BATCH = 1000  # emails in one transaction
QUOTA_LOOKAHEAD = 200  # due emails that are looked at together, if there is a quota

Choice = Callable[..., Select[Any]]  # which due rows a claim takes
CHOICES: tuple[Choice, ...] = (
    sql.select_due,
    sql.select_any_overdue,
    sql.select_due_elsewhere,
)


class Outbox:
    """The rows of one channel."""

    def __init__(
        self,
        database: Database,
        metrics: Metrics,
        quota: SendQuota | None = None,
        *,
        channel: ChannelName = ChannelName.MAIL,
        events: Events | None = None,
        gather: float = GATHER,
    ) -> None:
        self._database = database
        self._quota = quota
        self._channel = channel
        self._events = events
        self._claims = {
            choice: sql.claim_statement(database, choice(database, channel, OUTBOX.c.id), channel=channel)
            for choice in CHOICES
        }
        self._make_due = sql.make_due_statement(database)
        self._record_outcomes = sql.record_statement(database)
        self._record_and_return = self._record_outcomes.returning(*sql.OF_FAILURES)
        self._outcomes: GroupCommit[tuple[Email, Outcome], None] = GroupCommit(
            self._write_outcomes, sizes=metrics.batch_sizes.labels("outcomes"), gather=gather
        )

    async def fail(self, connection: AsyncConnection, user_ids: Collection[UUID], *, reason: str) -> None:
        """Fails emails that nobody has claimed, in the caller's transaction."""
        failed = await connection.execute(
            update(OUTBOX)
            .where(OUTBOX.c.user_id.in_(user_ids), OUTBOX.c.channel == self._channel)
            .values(status=EmailStatus.FAILED, last_reply=reason, finished_at=self._database.clock())
            .returning(*sql.OF_FAILURES)
        )
        if self._events:
            await self._events.add_failed(connection, failed.mappings())

    async def claim(self, limit: int, *, probing: bool = False) -> list[Email]:
        """Takes up to `limit` due rows for LEASE, the longest due first. Raises DatabaseUnavailable.

        When `probing`, any of those due long: rows that the relay never takes, each tried in its turn, would
        keep it paused while others wait behind them.
        """
        return await self._claim(sql.select_any_overdue if probing else sql.select_due, {"most": limit})

    async def claim_elsewhere(self, limit: int, *, refused: Collection[str]) -> list[Email]:
        """Like `claim`, but one row for each domain that is not in `refused`."""
        domains = encode_rows([domain] for domain in refused)
        return await self._claim(sql.select_due_elsewhere, {"most": limit, "refused": domains})

    async def make_due(self, attempts: Collection[tuple[UUID, int]]) -> None:
        """Makes emails due that nobody has claimed since, by id and attempt. Raises DatabaseUnavailable."""
        async with self._database.single_statement() as connection:
            await connection.execute(self._make_due, {"attempts": encode_rows(attempts)})

    async def _claim(self, choice: Choice, parameters: dict[str, Any]) -> list[Email]:
        if self._quota:
            return await self._claim_within(self._quota, choice, parameters)
        held_until = lease_end()
        async with self._database.single_statement() as connection:
            claimed = await connection.execute(self._claims[choice], parameters)
            emails = [Email(**row, held_until=held_until) for row in claimed.mappings()]
        return sorted(emails, key=_age)

    async def _claim_within(
        self, quota: SendQuota, choice: Choice, parameters: dict[str, Any]
    ) -> list[Email]:
        """Postpones emails over the quota, until an email may be sent or none is due."""
        emails: list[Email] = []
        is_more = True
        while is_more and not emails:
            held_until = lease_end()
            async with self._database.transaction() as connection:
                now = await self._database.now(connection)
                decision = await self._apply_quota(connection, quota, choice, parameters, now=now)
                chosen = sql.claim_statement(
                    self._database, select(OUTBOX.c.id).where(OUTBOX.c.id.in_(decision.allowed))
                )
                claimed = (await connection.execute(chosen)).mappings()
                emails = [Email(**row, held_until=held_until, claimed_at=now) for row in claimed]
            is_more = bool(decision.postponed)
        return sorted(emails, key=_age)

    async def _apply_quota(
        self,
        connection: AsyncConnection,
        quota: SendQuota,
        choice: Choice,
        parameters: dict[str, Any],
        *,
        now: datetime,
    ) -> QuotaDecision:
        limit = parameters["most"]
        due = choice(self._database, self._channel, OUTBOX.c.id, OUTBOX.c.recipient, OUTBOX.c.give_up_at)
        found = await connection.execute(due, {**parameters, "most": max(limit, QUOTA_LOOKAHEAD)})
        decision = await quota.allocate(connection, found.all(), limit=limit, now=now)
        if decision.postponed:
            await connection.execute(sql.POSTPONE, decision.postponed)
        return decision

    async def renew(self, emails: Sequence[Email]) -> None:
        """Extends this process's claims by another LEASE. Raises DatabaseUnavailable."""
        held_until = lease_end()
        leased = self._database.clock(after=LEASE)
        async with self._database.single_statement() as connection:
            renewed = await connection.execute(
                update(OUTBOX)
                .where(
                    OUTBOX.c.status == EmailStatus.PENDING,
                    OUTBOX.c.due_at <= leased,  # later rows were deferred meanwhile, and stay so
                    tuple_(OUTBOX.c.id, OUTBOX.c.attempt).in_(
                        [(email.id, email.attempt) for email in emails]
                    ),
                )
                .values(due_at=leased)
                .returning(OUTBOX.c.id)
            )
            still_ours = set(renewed.scalars())
        for email in emails:
            if email.id in still_ours:
                email.held_until = held_until

    async def record(self, email: Email, outcome: Outcome) -> None:
        """Writes a claimed email's outcome, if this process still holds it. Raises DatabaseUnavailable."""
        await self._outcomes.submit((email, outcome), give_up_after=None)

    async def fail_expired(self, reason: str) -> int:
        """Fails up to FAIL_BATCH emails whose `give_up_at` has passed. Returns how many."""
        now = self._database.clock()
        async with self._begin(several=self._events is not None) as connection:
            expired = (
                select(OUTBOX.c.id)
                .where(
                    OUTBOX.c.status == EmailStatus.PENDING,
                    OUTBOX.c.channel == self._channel,
                    OUTBOX.c.due_at <= now,
                    OUTBOX.c.give_up_at <= now,
                )
                .limit(FAIL_BATCH)
                .with_for_update(skip_locked=True)
                .cte("expired")
            )
            failed = await connection.execute(
                update(OUTBOX)
                .where(OUTBOX.c.id.in_(select(expired.c.id)))
                .values(
                    status=EmailStatus.FAILED,
                    attempt=OUTBOX.c.attempt + 1,
                    last_reply=clip_reply(reason),
                    finished_at=now,
                )
                .returning(*sql.OF_FAILURES)
            )
            rows = failed.mappings().all()
            if self._events:
                await self._events.add_failed(connection, rows)
            return len(rows)

    async def find_welcome_status(self, user_id: UUID) -> tuple[str, datetime | None] | None:
        """Status and when it was finished; None if there is no such user. Raises DatabaseUnavailable."""
        async with self._database.read_only() as connection:
            found = await connection.execute(
                select(OUTBOX.c.status, OUTBOX.c.finished_at).where(
                    OUTBOX.c.user_id == user_id, OUTBOX.c.kind == Kind.WELCOME
                )
            )
            row = found.one_or_none()
            return (row.status, row.finished_at) if row else None

    async def _write_outcomes(self, outcomes: Sequence[tuple[Email, Outcome]]) -> Sequence[None]:
        rows = encode_rows(encode_outcome(email, outcome) for email, outcome in outcomes)
        # What was sent can no longer fail, so most batches need not ask what has.
        events = self._events if any(not isinstance(outcome, Sent) for _, outcome in outcomes) else None
        async with self._begin(several=bool(self._quota or events)) as connection:
            if events:
                recorded = await connection.execute(self._record_and_return, {"outcomes": rows})
                await events.add_failed(connection, recorded.mappings())
            else:
                await connection.execute(self._record_outcomes, {"outcomes": rows})
            if self._quota:
                released = [email for email, outcome in outcomes if isinstance(outcome, Released)]
                await self._quota.refund(connection, released)
        return [None] * len(outcomes)

    def _begin(self, *, several: bool) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction of one statement, or of several."""
        return self._database.transaction() if several else self._database.single_statement()


def _age(email: Email) -> int:
    """Sorts by id, and so by time: an UPDATE returns rows in any order."""
    return email.id.int
