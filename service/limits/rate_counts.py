"""How much of each limit is used up, in a time window and by all processes: rows of `rate_counts`."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.database.engine import Database
from service.database.models import RateCount, table

COUNTS = table(RateCount)


class RateCounts:
    """All queries on the counts. Each runs in the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self, connection: AsyncConnection, more: Mapping[str, int], *, ends_at: datetime
    ) -> dict[str, int]:
        """Adds to the counts of a window and returns the new counts. No other process changes them before the
        transaction ends, so adding 0 reads and locks them."""
        if not more:
            return {}
        added = self._database.insert(RateCount).values(
            # Sorted, so that two replicas cannot deadlock.
            [{"ends_at": ends_at, "scope": scope, "count": more[scope]} for scope in sorted(more)]
        )
        found = await connection.execute(
            added.on_conflict_do_update(
                index_elements=[COUNTS.c.ends_at, COUNTS.c.scope],
                set_={"count": COUNTS.c.count + added.excluded.count},
            ).returning(COUNTS.c.scope, COUNTS.c.count)
        )
        return {scope: count for scope, count in found}

    async def find(
        self, connection: AsyncConnection, scopes: Iterable[str], *, ends_at: datetime
    ) -> dict[str, int]:
        """The counts of a window, without those that are 0."""
        found = await connection.execute(
            select(COUNTS.c.scope, COUNTS.c.count).where(
                COUNTS.c.ends_at == ends_at, COUNTS.c.scope.in_(list(scopes))
            )
        )
        return {scope: count for scope, count in found}

    async def find_exhausted(
        self, connection: AsyncConnection, *, prefix: str, limit: int, ends_at: datetime, at_most: int
    ) -> dict[str, int]:
        """The counts of a window that have reached the limit, for scopes with this prefix."""
        found = await connection.execute(
            select(COUNTS.c.scope, COUNTS.c.count)
            .where(COUNTS.c.ends_at == ends_at, COUNTS.c.scope.startswith(prefix), COUNTS.c.count >= limit)
            .limit(at_most)
        )
        return {scope: count for scope, count in found}

    async def delete_expired(self, connection: AsyncConnection, *, now: datetime) -> None:
        """Deletes the counts of windows that have ended."""
        await connection.execute(delete(COUNTS).where(COUNTS.c.ends_at <= now))
