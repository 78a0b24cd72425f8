"""Whether the table holds what the processes wrote: nothing missing, nothing altered."""

import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, func, select

from service.audit.entries import Entry, digest, digest_key
from service.database.engine import Database
from service.database.models import AUDIT_INSTANCES, AUDIT_LOG

PAGE = 2_000


@dataclass(frozen=True, slots=True)
class Finding:
    instance: str
    seq: int
    fault: str  # "missing", "altered" or "unexpected"

    def __str__(self) -> str:
        return f"{self.fault}: entry {self.seq} of instance {self.instance}"


class Verification:
    """Goes through the whole log once. `checked` and `total` are entries, for a progress bar."""

    def __init__(self, database: Database, *, key: bytes) -> None:
        self._database = database
        self._key = digest_key(key)
        self.checked = 0
        self.total = 0

    async def findings(self) -> AsyncIterator[Finding]:
        """Raises DatabaseUnavailable."""
        async with self._database.read_only(timeout=None) as connection:
            self.total = await connection.scalar(select(func.count()).select_from(AUDIT_LOG)) or 0
            instances = (await connection.execute(select(AUDIT_INSTANCES))).all()
            orphans = await connection.execute(
                select(AUDIT_LOG.c.instance, AUDIT_LOG.c.seq).where(
                    AUDIT_LOG.c.instance.not_in(select(AUDIT_INSTANCES.c.instance))
                )
            )
        for orphan in orphans:
            yield Finding(str(orphan.instance), orphan.seq, "unexpected")
        for instance in instances:
            async for finding in self._of_instance(instance):
                yield finding

    async def _of_instance(self, instance: Row[Any]) -> AsyncIterator[Finding]:
        """Every number from the first to the last stands there, with the digest of its fields.

        Entries that come in meanwhile are left for the next time.
        """
        expected = instance.first_seq
        while expected <= instance.last_seq:
            page = await self._page(instance, expected)
            for row in page:
                for seq in range(expected, row["seq"]):
                    yield Finding(str(instance.instance), seq, "missing")
                if not self._is_genuine(row):
                    yield Finding(str(instance.instance), row["seq"], "altered")
                expected = row["seq"] + 1
                self.checked += 1
            if len(page) < PAGE:
                break
        for seq in range(expected, instance.last_seq + 1):
            yield Finding(str(instance.instance), seq, "missing")

    async def _page(self, instance: Row[Any], start: int) -> list[Any]:
        async with self._database.read_only() as connection:
            found = await connection.execute(
                select(AUDIT_LOG)
                .where(
                    AUDIT_LOG.c.instance == instance.instance,
                    AUDIT_LOG.c.seq >= start,
                    AUDIT_LOG.c.seq <= instance.last_seq,
                )
                .order_by(AUDIT_LOG.c.seq)
                .limit(PAGE)
            )
            return list(found.mappings())

    def _is_genuine(self, row: Any) -> bool:
        payload = Entry.from_row(row).payload()
        return hmac.compare_digest(digest(payload, key=self._key), row["digest"])
