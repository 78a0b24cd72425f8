"""Limits the new users of one mailbox. With tags (`ada+1@…`) a mailbox has any number of addresses."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from sqlalchemy import BigInteger, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.engine import Database
from service.database.models import USERS
from service.limits.rate_counts import RateCounts
from service.person.address import Address
from service.settings.rate import Rate

NEW = timedelta(0)
RENEWALS = "renewals "  # prefix of a scope; a digest follows, as this table is no place for an address


class MailboxLimitExceeded(Exception):
    """The mailbox of this address has too many new users. Nothing was stored."""

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__("too many users for one mailbox")
        self.retry_after = retry_after


class MailboxLimit:
    """Counts the users themselves, so it needs no counter. Batches without tags cost nothing.

    The address without a tag counts but is never refused, or somebody could use up the limit to keep its
    owner out. With `renews`, a confirmation mail that is sent again counts like a new user.
    """

    def __init__(self, rate: Rate, *, database: Database, renews: bool = False) -> None:
        self._rate = rate
        self._database = database
        self._renewals = RateCounts(database) if renews else None

    async def lock(self, connection: AsyncConnection, addresses: Iterable[Address]) -> None:
        """Locks the mailboxes of all these addresses until the transaction ends. A transaction that counts
        renewals does so first, before it locks any row: otherwise two could wait for each other."""
        if not self._database.is_sqlite:  # SQLite's transactions take the write lock at once
            await _lock(connection, {address.untagged or address.canonical for address in addresses})

    async def find_excess(
        self, connection: AsyncConnection, addresses: Sequence[Address]
    ) -> dict[str, timedelta]:
        """The new addresses over the limit, by canonical form, and after how long they would be within it.

        Earlier addresses go first. Until the transaction ends, no other process stores users of these
        mailboxes.
        """
        tagged = {address.canonical: address.untagged for address in addresses if address.untagged}
        mailboxes = set(tagged.values())
        if not self._database.is_sqlite:
            await _lock(connection, mailboxes)
        known, ages = await self._find_stored(connection, tagged)
        excess = {}
        for address in addresses:
            mailbox = address.untagged or address.canonical
            if mailbox not in mailboxes or address.canonical in known:
                continue
            known.add(address.canonical)
            if address.untagged and len(ages[mailbox]) >= self._rate.limit:
                excess[address.canonical] = self._until_within(ages[mailbox])
            else:
                ages[mailbox].append(NEW)
        return excess

    async def count_renewals(
        self, connection: AsyncConnection, addresses: Sequence[Address]
    ) -> dict[str, timedelta]:
        """Counts one more confirmation mail for each of these known addresses, whose mailboxes are locked.
        Those over the limit, by canonical form, are not counted; with them comes after how long they would be
        within it."""
        assert self._renewals  # noqa: S101  # the limit was built with `renews`
        mailboxes = {address.canonical: address.untagged or address.canonical for address in addresses}
        _, ages = await self._find_stored(connection, mailboxes)
        excess, renewed = {}, Counter[str]()
        for canonical, mailbox in mailboxes.items():
            if len(ages[mailbox]) >= self._rate.limit:
                excess[canonical] = self._until_within(ages[mailbox])
            else:
                ages[mailbox].append(NEW)
                renewed[_renewal_scope(mailbox)] += 1
        ends_at = self._rate.window_end(await self._database.now(connection))
        await self._renewals.add(connection, renewed, ends_at=ends_at)
        return excess

    def _until_within(self, ages: Sequence[timedelta]) -> timedelta:
        return self._rate.period - sorted(ages)[self._rate.limit - 1]

    async def _find_stored(
        self, connection: AsyncConnection, tagged: Mapping[str, str]
    ) -> tuple[set[str], defaultdict[str, list[timedelta]]]:
        """The known addresses, and the ages of what counts for each mailbox: users, and renewals."""
        mailboxes = set(tagged.values())
        since = self._database.clock(after=-self._rate.period)
        found = await connection.execute(
            select(
                USERS.c.canonical_email,
                USERS.c.untagged_email,
                USERS.c.created_at,
                self._database.clock(),
            ).where(
                USERS.c.canonical_email.in_({*tagged, *mailboxes})
                | (USERS.c.untagged_email.in_(mailboxes) & (USERS.c.created_at > since))
            )
        )
        known, ages = set(), defaultdict(list)
        for canonical, untagged, created_at, now in found:
            known.add(canonical)
            if now - created_at < self._rate.period:
                ages[untagged or tagged.get(canonical, canonical)].append(now - created_at)
        if self._renewals:
            await self._add_renewals(connection, self._renewals, mailboxes, ages)
        return known, ages

    async def _add_renewals(
        self,
        connection: AsyncConnection,
        renewals: RateCounts,
        mailboxes: Iterable[str],
        ages: defaultdict[str, list[timedelta]],
    ) -> None:
        """They are counted in windows of the rate's period, and are as old as their window."""
        now = await self._database.now(connection)
        ends_at = self._rate.window_end(now)
        counts = await renewals.find(connection, map(_renewal_scope, mailboxes), ends_at=ends_at)
        for mailbox in mailboxes:
            age = self._rate.period - (ends_at - now)
            ages[mailbox] += [age] * counts.get(_renewal_scope(mailbox), 0)


async def _lock(connection: AsyncConnection, mailboxes: Iterable[str]) -> None:
    """Sorted, so that two replicas cannot deadlock."""
    keys = sorted(_lock_key(mailbox) for mailbox in mailboxes)
    await connection.execute(_LOCK, {"keys": keys})


def _renewal_scope(mailbox: str) -> str:
    return RENEWALS + hashlib.blake2b(mailbox.encode(), digest_size=16).hexdigest()


def _lock_key(mailbox: str) -> int:
    return int.from_bytes(hashlib.blake2b(mailbox.encode(), digest_size=8).digest(), signed=True)


_LOCK = text("SELECT pg_advisory_xact_lock(key) FROM unnest(:keys) AS key").bindparams(
    bindparam("keys", type_=ARRAY(BigInteger))
)
