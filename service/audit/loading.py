"""Loads lines of the spool into the table."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import bindparam, select

from service.audit.entries import Entry, NumberedEntry
from service.audit.heads import Heads
from service.database.json_rows import rows_from_json
from service.database.models import AUDIT_LOG, AuditEntry

COLUMNS = ("instance", "seq", *Entry._fields, "digest")  # a line is a JSON array in this order


class Loader:
    """Extends the instance's head in the transaction that adds its entries."""

    def __init__(self, heads: Heads) -> None:
        self._heads = heads
        self._database = heads.database
        entries = rows_from_json(
            self._database, *(AUDIT_LOG.c[name] for name in COLUMNS), parameter="entries"
        )
        self._insert = (
            self._database.insert(AuditEntry)
            # Retention has deleted older entries. The spool of a process that died before it emptied the file
            # must not bring them back.
            .from_select(entries.c.keys(), select(entries).where(entries.c.seq >= bindparam("first")))
            .on_conflict_do_nothing()
        )

    async def load(self, lines: Sequence[bytes]) -> int:
        """Stores each entry of one instance once, however often it is loaded; returns the last number.

        Raises DatabaseUnavailable, and DataRejected or ValueError for a line that is no entry.
        """
        last = NumberedEntry.from_line(lines[-1])
        document = b"[%b]" % b",".join(lines)
        async with self._database.transaction() as connection:
            head = await self._heads.extend(connection, instance=UUID(last.instance), last_seq=last.seq)
            first = head.first_seq if self._heads.is_genuine(head) else 1
            await connection.execute(self._insert, {"entries": document.decode(), "first": first})
        return last.seq

    async def extend(self, instance: str, *, last_seq: int) -> None:
        """Extends the range, so that lost entries are reported as missing. Raises DatabaseUnavailable."""
        async with self._database.transaction() as connection:
            await self._heads.extend(connection, instance=UUID(instance), last_seq=last_seq)
