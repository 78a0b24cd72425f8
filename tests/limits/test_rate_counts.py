"""Counts that all processes add to, each in a transaction of its own."""

import asyncio
from datetime import UTC, datetime

import pytest

from service.database.engine import Database
from service.limits.rate_counts import RateCounts
from tests.support.database import rows
from tests.support.eventually import eventually

ENDS_AT = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("engine_name", ["postgresql"])  # SQLite has one writer
async def test_processes_that_add_to_the_same_counts_wait_for_each_other_in_one_order(
    database: Database,
) -> None:
    counts = RateCounts(database)

    async def add(*scopes: str) -> None:
        async with database.transaction() as connection:
            await counts.add(connection, dict.fromkeys(scopes, 1), ends_at=ENDS_AT)

    async def is_waiting() -> bool:
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(await rows(database, waiting))

    async with database.transaction() as connection:
        await counts.add(connection, {"a": 1}, ends_at=ENDS_AT)
        other = asyncio.create_task(add("b", "a"))
        await eventually(is_waiting)
        await counts.add(connection, {"b": 1}, ends_at=ENDS_AT)  # a deadlock, if the other had begun with b
    await other

    stored = await rows(database, "SELECT scope, count FROM rate_counts")
    assert {row["scope"]: row["count"] for row in stored} == {"a": 2, "b": 2}
