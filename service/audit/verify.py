"""Whether the table holds what the processes wrote: nothing missing, nothing altered, nothing added."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, String, Table, func, select, true, type_coerce

from service.audit.entries import NumberedEntry, digest, digest_key, is_equal
from service.audit.heads import Head, Heads
from service.database.engine import Database
from service.database.models import AUDIT_INSTANCES, AUDIT_LOG

PAGE_SIZE = 2_000
LOWEST = -(2**63)  # of all numbers that the database can hold
UTC = "+00:00"  # SQLite keeps times without it


class Fault(StrEnum):
    MISSING = "missing"  # within the range of its instance, and not there
    ALTERED = "altered"  # its digest does not match its fields
    UNEXPECTED = "unexpected"  # outside of the range, or of an instance without one


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault of the entries from `first` to `last`, or, without a first, of the instance's range itself.

    Instance and numbers are whatever the database holds in their place.
    """

    fault: Fault
    instance: object
    first: object = None
    last: object = None

    def __str__(self) -> str:
        match self.first, self.last:
            case None, _:
                what = "range"
            case first, last if first == last:
                what = f"entry {first}"
            case first, last:
                what = f"entries {first} to {last}"
        return f"{self.fault}: {what} of instance {_parse_id(self.instance) or self.instance}"

    def is_continued_by(self, other: "Finding") -> bool:
        return (
            (self.fault, self.instance) == (other.fault, other.instance)
            and isinstance(self.last, int)
            and self.last + 1 == other.first
        )


class Verification:
    """Goes through the whole log once. `checked` and `total` are entries, for a progress bar."""

    def __init__(self, database: Database, *, secret: bytes) -> None:
        self._database = database
        self._heads = Heads(database, secret=secret)
        self._entry_columns = _readable(AUDIT_LOG, database)
        self._head_columns = _readable(AUDIT_INSTANCES, database)
        self._key = digest_key(secret)
        self.checked = 0
        self.total = 0
        self.heads: list[Head] = []  # of all instances; complete after the last finding

    async def findings(self) -> AsyncIterator[Finding]:
        """Faults of the same kind in a row are one finding. Raises DatabaseUnavailable."""
        last: Finding | None = None
        async for finding in self._single_findings():
            if last and last.is_continued_by(finding):
                last = replace(last, last=finding.last)
                continue
            if last:
                yield last
            last = finding
        if last:
            yield last

    async def _single_findings(self) -> AsyncIterator[Finding]:
        without_head = (
            select(self._entry_columns["instance"], func.min(AUDIT_LOG.c.seq), func.max(AUDIT_LOG.c.seq))
            .where(AUDIT_LOG.c.instance.not_in(select(AUDIT_INSTANCES.c.instance)))
            .group_by(AUDIT_LOG.c.instance)
        )
        async with self._database.read_only(timeout=None) as connection:
            self.total = await connection.scalar(select(func.count()).select_from(AUDIT_LOG)) or 0
            strangers = (await connection.execute(without_head)).all()
            instances = (await connection.execute(select(self._head_columns["instance"]))).scalars().all()
        for instance, first, last in strangers:
            yield Finding(Fault.UNEXPECTED, instance, first, last)
        for instance in instances:
            async for finding in self._verify_instance(instance):
                yield finding

    async def _verify_instance(self, instance: object) -> AsyncIterator[Finding]:
        """Every number from the first to the last is there, with the digest of its fields, and no other.

        The range is read with each page, in one snapshot: what comes or goes meanwhile is no fault.
        """
        last: object = None
        expected = LOWEST
        while True:
            head, page = await self._read_page(instance, after=last)
            if head is None or not _is_range(head):
                yield Finding(Fault.ALTERED if head else Fault.MISSING, instance)
                return
            expected = max(expected, head.first_seq)
            for row in page:
                seq = last = row["seq"]
                self.checked += 1
                if not (isinstance(seq, int) and head.first_seq <= seq <= head.last_seq):
                    yield Finding(Fault.UNEXPECTED, instance, seq, seq)
                    continue
                if expected < seq:
                    yield Finding(Fault.MISSING, instance, expected, seq - 1)
                if not self._is_genuine(row):
                    yield Finding(Fault.ALTERED, instance, seq, seq)
                expected = seq + 1
            if len(page) < PAGE_SIZE:
                break
        if expected <= head.last_seq:
            yield Finding(Fault.MISSING, instance, expected, head.last_seq)
        if not self._heads.is_genuine(head):
            yield Finding(Fault.ALTERED, instance)
        self.heads.append(head)

    async def _read_page(
        self, instance: object, *, after: object
    ) -> tuple[Head | None, Sequence[RowMapping]]:
        """The head and the next entries, in one statement, which sees one state of both."""
        entries = (
            select(*self._entry_columns.values())
            .where(
                self._entry_columns["instance"] == instance,
                true() if after is None else AUDIT_LOG.c.seq > after,
            )
            .order_by(AUDIT_LOG.c.seq)
            .limit(PAGE_SIZE)
            .subquery()
        )
        head = [column.label(f"head_{name}") for name, column in self._head_columns.items()]
        page = (
            select(*head, entries)
            .select_from(AUDIT_INSTANCES.outerjoin(entries, true()))
            .where(self._head_columns["instance"] == instance)
            .order_by(entries.c.seq)
        )
        async with self._database.read_only(timeout=None) as connection:
            rows = (await connection.execute(page)).mappings().all()
        if not rows:
            return None, ()
        found = Head(*(rows[0][column.name] for column in head))
        found = found._replace(instance=_parse_id(found.instance) or found.instance)
        return found, [row for row in rows if row["seq"] is not None]

    def _is_genuine(self, row: RowMapping) -> bool:
        try:
            payload = NumberedEntry.from_row(row).payload()
        except ValueError:  # bytes, for example
            return False
        return is_equal(digest(payload, key=self._key), row["digest"])


def _readable(table: Table, database: Database) -> dict[str, ColumnElement[Any]]:
    """The table's columns by name, so that each row can be read whatever somebody wrote into it: SQLite
    stores any value in any column, and one that is no time, id or number is a finding and not an error."""
    columns: dict[str, ColumnElement[Any]] = {column.name: column for column in table.c}
    if database.is_sqlite:
        columns = {name: type_coerce(column, String).label(name) for name, column in columns.items()}
        if "occurred_at" in columns:
            columns["occurred_at"] = (type_coerce(table.c.occurred_at, String) + UTC).label("occurred_at")
    return columns


def _is_range(head: Head) -> bool:
    return (
        isinstance(head.instance, UUID) and isinstance(head.first_seq, int) and isinstance(head.last_seq, int)
    )


def _parse_id(value: object) -> UUID | None:
    try:
        return value if isinstance(value, UUID) else UUID(hex=str(value))
    except ValueError:
        return None
