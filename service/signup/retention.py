"""Erases users who have not confirmed their address in time, and deletes old rate counts."""

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

from service.database.engine import Database
from service.limits.rate_counts import RateCounts
from service.observability.metrics import Metrics
from service.outbox.events import Events
from service.runtime.background import repeat_in_background
from service.signup.users import Users

ERASE_EVERY = 60.0  # s


class Retention:
    def __init__(
        self, database: Database, *, events: Events | None, keep: timedelta, metrics: Metrics
    ) -> None:
        self._database = database
        self._users = Users(database, events)
        self._keep = keep
        self._deleted = metrics.confirmations.labels("deleted")
        self._counts = RateCounts(database)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with repeat_in_background(self._round):
            yield

    async def erase_unconfirmed(self) -> int:
        """Returns how many. Raises DatabaseUnavailable."""
        erased = await self._users.erase_long_unconfirmed(since=self._keep)
        self._deleted.inc(erased)
        return erased

    async def _round(self) -> float:
        with self._database.tolerate_outage("unconfirmed"):
            await self.erase_unconfirmed()
            async with self._database.transaction() as connection:
                # The counts of links that were sent again, which no limit deletes.
                await self._counts.delete_expired(connection, now=await self._database.now(connection))
        return ERASE_EVERY
