"""From lines of the spool, as they are, to rows of the table."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import bindparam, case, select, true

from service.audit.entries import Entry
from service.database.engine import Database, DataRejected
from service.database.json_rows import rows_from_json
from service.database.models import AUDIT_INSTANCES, AUDIT_LOG, AuditEntry, AuditInstance

COLUMNS = (*Entry._fields, "digest")  # a line is a JSON array in this order


class Loader:
    """Tells the instance's row of its entries in the transaction that adds them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        entries = rows_from_json(database, *(AUDIT_LOG.c[name] for name in COLUMNS), parameter="entries")
        self._inserting = (
            database.insert(AuditEntry)
            .from_select(entries.c.keys(), select(entries).where(true()))
            .on_conflict_do_nothing()
        )
        seen = database.insert(AuditInstance).values(
            instance=bindparam("of"), first_seq=bindparam("first"), last_seq=bindparam("last")
        )
        later = case(
            (AUDIT_INSTANCES.c.last_seq < seen.excluded.last_seq, seen.excluded.last_seq),
            else_=AUDIT_INSTANCES.c.last_seq,
        )
        self._widening = seen.on_conflict_do_update(index_elements=["instance"], set_={"last_seq": later})

    async def load(self, lines: Sequence[bytes]) -> None:
        """Stores each entry once, however often it is loaded.

        Raises DatabaseUnavailable, and Refused or ValueError for a line that is no entry.
        """
        (first, _), (last, _) = Entry.from_line(lines[0]), Entry.from_line(lines[-1])
        seen = {"of": UUID(first.instance), "first": first.seq, "last": last.seq}
        if self._database.is_sqlite or not await self._copied(lines, seen):
            document = b"[%b]" % b",".join(lines)
            async with self._database.transaction() as connection:
                await connection.execute(self._widening, seen)
                await connection.execute(self._inserting, {"entries": document.decode()})

    async def _copied(self, lines: Sequence[bytes], seen: dict[str, object]) -> bool:
        """COPY costs half of an INSERT, but takes all or nothing: False if an entry is stored already,
        because an answer was lost, or a line is none."""
        # A JSON array without its brackets is CSV, as long as nothing in it is escaped.
        csv = b"\n".join([line[1:-2] for line in lines])
        if b"\\" in csv:
            return False
        try:
            async with self._database.transaction() as connection:
                await connection.execute(self._widening, seen)
                await self._database.copy(connection, AUDIT_LOG, COLUMNS, csv)
        except DataRejected:
            return False
        return True
