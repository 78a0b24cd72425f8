"""The heads: for each process, the range of entries that the table should hold, signed.

Numbers begin at 1, only retention raises the first number, and a head is never deleted. So verification
notices a range that somebody shortened, and a head that is gone.
"""

from typing import NamedTuple
from uuid import UUID

from pydantic_core import to_json
from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.audit.entries import digest, digest_key, is_equal
from service.database.engine import Database
from service.database.models import AUDIT_INSTANCES, AuditInstance


class Head(NamedTuple):
    instance: UUID
    first_seq: int
    last_seq: int
    digest: str

    def __str__(self) -> str:
        return f"instance {self.instance}: entries {self.first_seq} to {self.last_seq}"


class Heads:
    """Reads, changes and checks heads, with the key that signs them."""

    def __init__(self, database: Database, *, secret: bytes) -> None:
        self.database = database
        self._key = digest_key(secret)
        self._create = (
            database.insert(AuditInstance)
            .values(
                instance=bindparam("of"),
                first_seq=bindparam("first"),
                last_seq=bindparam("last"),
                digest=bindparam("signature"),
            )
            .on_conflict_do_nothing()
        )
        self._change = (
            update(AUDIT_INSTANCES)
            .where(AUDIT_INSTANCES.c.instance == bindparam("of"))
            .values(first_seq=bindparam("first"), last_seq=bindparam("last"), digest=bindparam("signature"))
        )

    async def extend(self, connection: AsyncConnection, *, instance: UUID, last_seq: int) -> Head:
        """Extends the range to `last_seq`. Returns the head as it was before."""
        head = await self._lock(connection, instance)
        if head is None:
            # Two processes may adopt what a third one left.
            new = Head(instance, 1, 0, self._sign(instance, 1, 0))
            await connection.execute(self._create, _parameters(new))
            head = await self._lock(connection, instance) or new
        if last_seq > head.last_seq:
            await self._write(connection, head, first_seq=head.first_seq, last_seq=last_seq)
        return head

    async def advance_first(self, connection: AsyncConnection, head: Head, *, first_seq: int) -> None:
        """For a head that this transaction has locked."""
        await self._write(connection, head, first_seq=first_seq, last_seq=head.last_seq)

    def is_genuine(self, head: Head) -> bool:
        return is_equal(self._sign(*head[:3]), head.digest)

    async def _lock(self, connection: AsyncConnection, instance: UUID) -> Head | None:
        this = select(AUDIT_INSTANCES).where(AUDIT_INSTANCES.c.instance == instance).with_for_update()
        row = (await connection.execute(this)).one_or_none()
        return Head(*row) if row else None

    async def _write(self, connection: AsyncConnection, head: Head, *, first_seq: int, last_seq: int) -> None:
        # To sign a head that somebody changed would cover up what they did.
        signature = self._sign(head.instance, first_seq, last_seq) if self.is_genuine(head) else head.digest
        await connection.execute(
            self._change, _parameters(Head(head.instance, first_seq, last_seq, signature))
        )

    def _sign(self, instance: UUID, first_seq: int, last_seq: int) -> str:
        return digest(to_json((instance.hex, first_seq, last_seq)), key=self._key)


def _parameters(head: Head) -> dict[str, object]:
    return {"of": head.instance, "first": head.first_seq, "last": head.last_seq, "signature": head.digest}
