"""Deletes old entries from the front of each instance, so that the rest can still be verified."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.audit.heads import Head, Heads
from service.database import batches
from service.database.models import AUDIT_INSTANCES, AUDIT_LOG


async def prune(heads: Heads, *, keep: timedelta) -> int:
    """Deletes entries older than `keep`; returns how many. Raises DatabaseUnavailable.

    Entries that become old meanwhile are left for the next round, or this one might never end. An old entry
    behind a younger one (its request took long) is deleted with that one.
    """
    async with heads.database.read_only() as connection:
        cutoff = await heads.database.now(connection) - keep
    return await batches.delete_in_batches(lambda: _prune_batch(heads, cutoff=cutoff))


async def _prune_batch(heads: Heads, *, cutoff: datetime) -> int:
    async with heads.database.transaction() as connection:
        head = await _lock_oldest(connection, cutoff)
        if head is None:
            return 0
        last: int = (await connection.execute(_select_last_to_delete(head, cutoff))).scalar_one()
        # Not to the first remaining entry, or deleting the entries between would cover up a forgery.
        await heads.advance_first(connection, head, first_seq=last + 1)
        deleted = await connection.execute(
            delete(AUDIT_LOG).where(
                AUDIT_LOG.c.instance == head.instance,
                AUDIT_LOG.c.seq.between(head.first_seq, last),
            )
        )
        return deleted.rowcount


async def _lock_oldest(connection: AsyncConnection, cutoff: datetime) -> Head | None:
    """An instance whose first remaining entry is old."""
    first_occurred_at = (
        select(AUDIT_LOG.c.occurred_at)
        .where(
            AUDIT_LOG.c.instance == AUDIT_INSTANCES.c.instance,
            AUDIT_LOG.c.seq.between(AUDIT_INSTANCES.c.first_seq, AUDIT_INSTANCES.c.last_seq),
        )
        .order_by(AUDIT_LOG.c.seq)
        .limit(1)
        .scalar_subquery()
    )
    found = await connection.execute(
        select(AUDIT_INSTANCES).where(first_occurred_at < cutoff).limit(1).with_for_update(skip_locked=True)
    )
    row = found.one_or_none()
    return Head(*row) if row else None


def _select_last_to_delete(head: Head, cutoff: datetime) -> Select[Any]:
    first_ones = (
        select(AUDIT_LOG.c.seq, AUDIT_LOG.c.occurred_at)
        .where(
            AUDIT_LOG.c.instance == head.instance,
            AUDIT_LOG.c.seq.between(head.first_seq, head.last_seq),
        )
        .order_by(AUDIT_LOG.c.seq)
        .limit(batches.BATCH_SIZE)
        .cte()
    )
    first_to_stay = select(func.min(first_ones.c.seq)).where(first_ones.c.occurred_at >= cutoff)
    return select(func.max(first_ones.c.seq)).where(
        first_ones.c.seq < func.coalesce(first_to_stay.scalar_subquery(), head.last_seq + 1)
    )
