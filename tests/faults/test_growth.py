"""A million emails that are finished."""

import re
import time
from typing import Any

from sqlalchemy import event

from service.database.engine import Database
from service.outbox.repository import Outbox

FILL = (
    """
    INSERT INTO users (id, email, canonical_email, created_at)
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})
    SELECT {id}, n || '@example.com', n || '@example.com', CURRENT_TIMESTAMP FROM numbers
    """,
    """
    INSERT INTO outbox (id, user_id, recipient, domain, request_id, status, attempt, deferrals,
        due_at, give_up_at, created_at, finished_at)
    SELECT id, id, email, 'example.com', 'request', 'sent', 1, 0,
        CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP FROM users
    """,
    "ANALYZE",
)
UUID_OF_N = {"postgresql": "md5(n::text)::uuid", "sqlite": "printf('%032x', n)"}
# The planner may take either: both hold no finished row.
OF_WAITING_ROWS = {"ix_outbox_due", "ix_outbox_domain"}
EXPLAIN = {"postgresql": "EXPLAIN", "sqlite": "EXPLAIN QUERY PLAN"}


async def test_f58_a_million_finished_rows_cost_a_claim_nothing(
    database: Database, outbox: Outbox, engine_name: str, long: bool
) -> None:
    count = 1_000_000 if long else 50_000
    async with database.unbounded_transaction() as connection:
        for statement in FILL:
            await connection.exec_driver_sql(statement.format(count=count, id=UUID_OF_N[engine_name]))
    asked: list[tuple[str, Any]] = []

    @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def remember(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        asked.append((statement, parameters))

    seconds = []
    for _ in range(20):
        begun = time.perf_counter()
        assert await outbox.claim(200) == []
        seconds.append(time.perf_counter() - begun)

    assert min(seconds) < (0.005 if long else 0.05)  # only `make faults` has the machine to itself
    claim, parameters = asked[-1]
    async with database.read_only() as connection:
        plan = str((await connection.exec_driver_sql(f"{EXPLAIN[engine_name]} {claim}", parameters)).all())
    indexes = set(re.findall(r"ix_outbox_\w+", plan))
    assert indexes, plan
    assert indexes <= OF_WAITING_ROWS, plan
    assert not re.search(r"Seq Scan|SCAN outbox", plan), plan
