"""Whether the table holds what the processes wrote: nothing missing, nothing altered, nothing added."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, String, func, select, true, type_coerce

from service.audit.entries import NumberedEntry, digest, digest_key, is_equal
from service.audit.heads import Head, Heads
from service.database.engine import Database
from service.database.models import AUDIT_INSTANCES, AUDIT_LOG

PAGE_SIZE = 2_000
UTC = "+00:00"  # SQLite keeps times without it


class Fault(StrEnum):
    MISSING = "missing"  # within the range of its instance, and not there
    ALTERED = "altered"  # its digest does not match its fields
    UNEXPECTED = "unexpected"  # outside of the range, or of an instance without one


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault of the entries from `first` to `last`, or, without a first, of the instance's range itself."""

    fault: Fault
    instance: UUID
    first: int | None = None
    last: int | None = None

    def __str__(self) -> str:
        match self.first, self.last:
            case None, _:
                what = "range"
            case first, last if first == last:
                what = f"entry {first}"
            case first, last:
                what = f"entries {first} to {last}"
        return f"{self.fault}: {what} of instance {self.instance}"

    def is_continued_by(self, other: "Finding") -> bool:
        return (
            (self.fault, self.instance) == (other.fault, other.instance)
            and self.last is not None
            and self.last + 1 == other.first
        )


class Verification:
    """Goes through the whole log once. `checked` and `total` are entries, for a progress bar."""

    def __init__(self, database: Database, *, secret: bytes) -> None:
        self._database = database
        self._heads = Heads(database, secret=secret)
        self._columns = _entry_columns(database)
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
            select(AUDIT_LOG.c.instance, func.min(AUDIT_LOG.c.seq), func.max(AUDIT_LOG.c.seq))
            .where(AUDIT_LOG.c.instance.not_in(select(AUDIT_INSTANCES.c.instance)))
            .group_by(AUDIT_LOG.c.instance)
        )
        async with self._database.read_only(timeout=None) as connection:
            self.total = await connection.scalar(select(func.count()).select_from(AUDIT_LOG)) or 0
            strangers = (await connection.execute(without_head)).all()
            instances = (await connection.execute(select(AUDIT_INSTANCES.c.instance))).scalars().all()
        for instance, first, last in strangers:
            yield Finding(Fault.UNEXPECTED, instance, first, last)
        for instance in instances:
            async for finding in self._verify_instance(instance):
                yield finding

    async def _verify_instance(self, instance: UUID) -> AsyncIterator[Finding]:
        """Every number from the first to the last is there, with the digest of its fields, and no other.

        The range is read with each page, in one snapshot: what comes or goes meanwhile is no fault.
        """
        seen: int | None = None
        while True:
            head, page = await self._read_page(instance, after=seen)
            if head is None:
                yield Finding(Fault.MISSING, instance)
                return
            expected = head.first_seq if seen is None else max(seen + 1, head.first_seq)
            for row in page:
                seen = row["seq"]
                self.checked += 1
                if not head.first_seq <= seen <= head.last_seq:
                    yield Finding(Fault.UNEXPECTED, instance, seen, seen)
                    continue
                if expected < seen:
                    yield Finding(Fault.MISSING, instance, expected, seen - 1)
                if not self._is_genuine(row):
                    yield Finding(Fault.ALTERED, instance, seen, seen)
                expected = seen + 1
            if len(page) < PAGE_SIZE:
                break
        if expected <= head.last_seq:
            yield Finding(Fault.MISSING, instance, expected, head.last_seq)
        if not self._heads.is_genuine(head):
            yield Finding(Fault.ALTERED, instance)
        self.heads.append(head)

    async def _read_page(
        self, instance: UUID, *, after: int | None
    ) -> tuple[Head | None, Sequence[RowMapping]]:
        """The head and the next entries, in one statement, which sees one state of both."""
        entries = (
            select(*self._columns)
            .where(AUDIT_LOG.c.instance == instance, true() if after is None else AUDIT_LOG.c.seq > after)
            .order_by(AUDIT_LOG.c.seq)
            .limit(PAGE_SIZE)
            .subquery()
        )
        head = [column.label(f"head_{column.name}") for column in AUDIT_INSTANCES.c]
        page = (
            select(*head, entries)
            .select_from(AUDIT_INSTANCES.outerjoin(entries, true()))
            .where(AUDIT_INSTANCES.c.instance == instance)
            .order_by(entries.c.seq)
        )
        async with self._database.read_only(timeout=None) as connection:
            rows = (await connection.execute(page)).mappings().all()
        if not rows:
            return None, ()
        found = Head(*(rows[0][column.name] for column in head))
        return found, [row for row in rows if row["seq"] is not None]

    def _is_genuine(self, row: RowMapping) -> bool:
        try:
            payload = NumberedEntry.from_row(row).payload()
        except ValueError:  # bytes, for example
            return False
        return is_equal(digest(payload, key=self._key), row["digest"])


def _entry_columns(database: Database) -> Sequence[ColumnElement[Any]]:
    columns: dict[str, ColumnElement[Any]] = {column.name: column for column in AUDIT_LOG.c}
    if database.is_sqlite:
        # SQLite stores any text in any column. A value that is no time or no id is a finding, not an error.
        columns["occurred_at"] = (type_coerce(AUDIT_LOG.c.occurred_at, String) + UTC).label("occurred_at")
        columns["user_id"] = type_coerce(AUDIT_LOG.c.user_id, String).label("user_id")
    return [*columns.values()]
