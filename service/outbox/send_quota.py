"""Limits how many mails are sent, to one domain and in all. The others wait for a later time window."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.engine import Database
from service.limits.rate_counts import RateCounts
from service.outbox.row import Email, get_domain
from service.settings import Settings
from service.settings.rate import Rate

POSTPONED = "waiting "  # prefix of a scope: how many wait for later windows


@dataclass(frozen=True, slots=True)
class QuotaDecision:
    """What happens to due emails. Emails beyond the limit of a claim are in neither list."""

    allowed: list[UUID] = field(default_factory=list)
    postponed: list[dict[str, object]] = field(default_factory=list)  # of_id, new_due_at, new_give_up_at


@dataclass(slots=True)
class _QuotaWindow:
    scope: str
    rate: Rate
    ends_at: datetime
    spent: int
    postponed: int
    changes: Counter[str] = field(default_factory=Counter)

    @property
    def is_exhausted(self) -> bool:
        return self.spent >= self.rate.limit

    def use(self) -> None:
        self.spent += 1
        self.changes[self.scope] += 1

    def postpone(self) -> datetime:
        """Postpones emails to the window after all that wait already. The next window could be too full, and
        they would be postponed again."""
        due_at = self.ends_at + self.rate.period * (self.postponed // self.rate.limit)
        self.postponed += 1
        self.changes[POSTPONED + self.scope] += 1
        return due_at


class SendQuota:
    """Counts emails when they are claimed, in windows that all replicas share. Emails that were not sent
    through no fault of their own are refunded."""

    def __init__(self, database: Database, *, per_domain: Rate | None, in_all: Rate | None) -> None:
        self._counts = RateCounts(database)
        # The domain first, so that an email over its domain's rate does not count for the total. Always in
        # this order, so that two replicas cannot deadlock.
        limits = (_domain_scope, per_domain), (_total_scope, in_all)
        self._limits = [(scope, rate) for scope, rate in limits if rate]
        self._window: datetime | None = None

    @classmethod
    def from_settings(cls, settings: Settings, *, database: Database) -> Self | None:
        if not settings.has_send_quota:
            return None
        return cls(database, per_domain=settings.domain_rate_limit, in_all=settings.mail_budget)

    async def allocate(
        self, connection: AsyncConnection, due: Sequence[Row[Any]], *, limit: int, now: datetime
    ) -> QuotaDecision:
        """Chooses up to `limit` of the rows (id, recipient, give_up_at), in their order."""
        windows = await self._load(connection, {row.recipient for row in due}, now=now)
        decision = QuotaDecision()
        for row in due:
            if len(decision.allowed) == limit:
                break
            asked = [windows[scope(row.recipient)] for scope, _ in self._limits]
            if exhausted := next((window for window in asked if window.is_exhausted), None):
                due_at = exhausted.postpone()
                # Waiting for the quota does not shorten the days in which the email is tried.
                changes = {"new_due_at": due_at, "new_give_up_at": row.give_up_at + (due_at - now)}
                decision.postponed.append({"of_id": row.id, **changes})
            else:
                decision.allowed.append(row.id)
                for window in asked:
                    window.use()
        await self._save(connection, windows.values())
        return decision

    async def refund(self, connection: AsyncConnection, emails: Iterable[Email]) -> None:
        """Lowers the counts of the windows in which the emails were claimed."""
        claimed = [(email.recipient, email.claimed_at) for email in emails if email.claimed_at]
        for scope, rate in self._limits:
            back: defaultdict[datetime, Counter[str]] = defaultdict(Counter)
            for recipient, claimed_at in claimed:
                back[rate.window_end(claimed_at)][scope(recipient)] -= 1
            for ends_at in sorted(back):
                await self._counts.add(connection, back[ends_at], ends_at=ends_at)

    async def _load(
        self, connection: AsyncConnection, recipients: set[str], *, now: datetime
    ) -> dict[str, _QuotaWindow]:
        """Locks these windows for all other processes until the transaction ends."""
        if not self._window or self._window <= now:
            await self._counts.delete_expired(connection, now=now)
            self._window = min(rate.window_end(now) for _, rate in self._limits)
        windows = {}
        for scope, rate in self._limits:
            ends_at, scopes = rate.window_end(now), {scope(recipient) for recipient in recipients}
            asked = dict.fromkeys([*scopes, *(POSTPONED + scope for scope in scopes)], 0)
            counts = await self._counts.add(connection, asked, ends_at=ends_at)
            for name in scopes:
                windows[name] = _QuotaWindow(name, rate, ends_at, counts[name], counts[POSTPONED + name])
        return windows

    async def _save(self, connection: AsyncConnection, windows: Iterable[_QuotaWindow]) -> None:
        changes: defaultdict[datetime, Counter[str]] = defaultdict(Counter)
        for window in windows:
            changes[window.ends_at] += window.changes
        for ends_at, more in changes.items():
            await self._counts.add(connection, more, ends_at=ends_at)


def _domain_scope(recipient: str) -> str:
    return f"mails to {get_domain(recipient)}"


def _total_scope(_: str) -> str:
    return "mails"
