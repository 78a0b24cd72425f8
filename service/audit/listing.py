"""Finds the newest audit entries."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import RowMapping, select

from service.database.engine import Database
from service.database.models import AUDIT_LOG


async def find_newest(
    database: Database,
    *,
    limit: int,
    request_id: str | None = None,
    status: int | None = None,
    route: str | None = None,
    since: timedelta | None = None,
) -> Sequence[RowMapping]:
    """Raises DatabaseUnavailable."""
    wanted = {AUDIT_LOG.c.request_id: request_id, AUDIT_LOG.c.status: status, AUDIT_LOG.c.route: route}
    found = select(AUDIT_LOG).where(
        *(column == value for column, value in wanted.items() if value is not None)
    )
    if since is not None:
        found = found.where(AUDIT_LOG.c.occurred_at >= database.clock(after=-since))
    async with database.read_only(timeout=None) as connection:
        rows = await connection.execute(found.order_by(AUDIT_LOG.c.occurred_at.desc()).limit(limit))
        return rows.mappings().all()
