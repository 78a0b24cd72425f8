"""Repeated signups of addresses that wait to be confirmed: the link is sent again."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, and_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.engine import Database
from service.database.group_commit import GroupCommit
from service.database.models import USERS
from service.limits.per_mailbox import MailboxLimit
from service.observability.metrics import Metrics
from service.outbox.confirmation_emails import ConfirmationEmails
from service.person.address import Address

AT_MOST_EVERY = timedelta(minutes=1)
NO_TIME = timedelta(0)

# Who was asked and has not answered. Users from before CONFIRMATION was set were never asked.
IS_UNCONFIRMED: ColumnElement[bool] = and_(
    USERS.c.confirmed_at.is_(None), USERS.c.confirmation_asked_at.is_not(None)
)


class Unconfirmed(Exception):
    """The address has signed up and waits to be confirmed. Its link has been sent again, unless there is a
    `retry_after`."""

    def __init__(self, retry_after: timedelta = NO_TIME) -> None:
        super().__init__("this address waits to be confirmed")
        self.retry_after = retry_after

    @property
    def is_sent_again(self) -> bool:
        return self.retry_after <= NO_TIME

    @property
    def seconds(self) -> int:
        return max(math.ceil(self.retry_after.total_seconds()), 1)


@dataclass(frozen=True, slots=True)
class _Waiting:
    user_id: UUID
    address: Address
    asked_at: datetime


class Renewals:
    """Renews the link of an address at most once in AT_MOST_EVERY, and within the limit of its mailbox."""

    def __init__(self, database: Database, *, mailboxes: MailboxLimit | None, metrics: Metrics) -> None:
        self._database = database
        self._mailboxes = mailboxes
        self._renewed = metrics.confirmations.labels("renewed")
        self._emails = ConfirmationEmails(database)
        self._batcher: GroupCommit[Address, Unconfirmed | None] = GroupCommit(self._write)

    async def ask_again(self, address: Address) -> Unconfirmed | None:
        """None if the address does not wait to be confirmed. Raises what `GroupCommit.submit` raises."""
        return await self._batcher.submit(address)

    async def lock(self, connection: AsyncConnection, addresses: Sequence[Address]) -> None:
        """Call it first of all in a transaction with `renew`."""
        if self._mailboxes:
            await self._mailboxes.lock(connection, addresses)

    async def renew(
        self, connection: AsyncConnection, addresses: Sequence[Address]
    ) -> Mapping[str, Unconfirmed]:
        """In the caller's transaction: those of the addresses that wait, by their canonical form."""
        now = await self._database.now(connection)
        waiting = await self._lock_waiting(connection, {each.canonical: each for each in addresses})
        found = {each.address.canonical: Unconfirmed(each.asked_at + AT_MOST_EVERY - now) for each in waiting}
        due = [each for each in waiting if found[each.address.canonical].is_sent_again]
        if due and self._mailboxes:
            excess = await self._mailboxes.count_renewals(connection, [each.address for each in due])
            found |= {canonical: Unconfirmed(retry_after) for canonical, retry_after in excess.items()}
        await self._renew(
            connection, [each.user_id for each in due if found[each.address.canonical].is_sent_again]
        )
        return found

    def count(self, found: Mapping[str, Unconfirmed]) -> None:
        """Call it when they are on disk."""
        self._renewed.inc(sum(each.is_sent_again for each in found.values()))

    async def _write(self, addresses: Sequence[Address]) -> Sequence[Unconfirmed | None]:
        async with self._database.transaction() as connection:
            await self.lock(connection, addresses)
            found = await self.renew(connection, addresses)
        self.count(found)
        return [found.get(address.canonical) for address in addresses]

    async def _lock_waiting(
        self, connection: AsyncConnection, by_canonical: Mapping[str, Address]
    ) -> list[_Waiting]:
        """In one order, so that two replicas cannot deadlock."""
        rows = await connection.execute(
            select(USERS.c.id, USERS.c.canonical_email, USERS.c.confirmation_asked_at)
            .where(USERS.c.canonical_email.in_(by_canonical), IS_UNCONFIRMED)
            .order_by(USERS.c.canonical_email)
            .with_for_update()
        )
        return [_Waiting(user_id, by_canonical[canonical], asked_at) for user_id, canonical, asked_at in rows]

    async def _renew(self, connection: AsyncConnection, user_ids: Sequence[UUID]) -> None:
        if user_ids:
            await connection.execute(
                update(USERS)
                .where(USERS.c.id.in_(user_ids))
                .values(confirmation_asked_at=self._database.clock())
            )
            await self._emails.renew(connection, user_ids)
