"""Old entries go, from the front of each instance, so that what is left can still be verified."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.engine import Database
from service.database.models import AUDIT_INSTANCES, AUDIT_LOG

BATCH = 5_000  # entries per transaction: short ones, so that nobody waits behind them


async def prune(database: Database, *, keep: timedelta) -> int:
    """Deletes entries older than `keep`; returns how many. Raises DatabaseUnavailable.

    An instance's `first_seq` moves along in the same transaction. Where an older entry stands
    behind a younger one, because its request took long, it waits for that one to grow old.
    """
    pruned = 0
    while batch := await _prune_batch(database, keep=keep):
        pruned += batch
    return pruned


async def _prune_batch(database: Database, *, keep: timedelta) -> int:
    async with database.transaction() as connection:
        cutoff = await database.now(connection) - keep
        instance = await _with_old_entries(connection, cutoff)
        if instance is None:
            return 0
        young = await connection.scalar(
            select(func.min(AUDIT_LOG.c.seq)).where(
                AUDIT_LOG.c.instance == instance.instance, AUDIT_LOG.c.occurred_at >= cutoff
            )
        )
        keep_from = min(young or instance.last_seq + 1, instance.first_seq + BATCH)
        deleted = await connection.execute(
            delete(AUDIT_LOG).where(AUDIT_LOG.c.instance == instance.instance, AUDIT_LOG.c.seq < keep_from)
        )
        this = AUDIT_INSTANCES.c.instance == instance.instance
        await connection.execute(
            delete(AUDIT_INSTANCES).where(this)
            if keep_from > instance.last_seq
            else update(AUDIT_INSTANCES).where(this).values(first_seq=keep_from)
        )
        return deleted.rowcount


async def _with_old_entries(connection: AsyncConnection, cutoff: datetime) -> Row[Any] | None:
    first_is_old = exists().where(
        AUDIT_LOG.c.instance == AUDIT_INSTANCES.c.instance,
        AUDIT_LOG.c.seq == AUDIT_INSTANCES.c.first_seq,
        AUDIT_LOG.c.occurred_at < cutoff,
    )
    found = await connection.execute(
        select(AUDIT_INSTANCES).where(first_is_old).limit(1).with_for_update(skip_locked=True)
    )
    return found.one_or_none()
