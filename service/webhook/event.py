"""The content of events, which is made when they are sent: erasing a user leaves nothing of them behind."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, select

from service.database.engine import Database
from service.database.group_commit import GroupCommit
from service.database.models import OUTBOX, USERS
from service.database.outbox_kinds import Kind
from service.outbox.row import Email

# In s. A query takes more CPU than the post. Events that are read together are answered at about the same
# time, so the next ones are read together too.
GATHER = 0.005
USER = USERS.c.id, USERS.c.email, USERS.c.name, USERS.c.locale, USERS.c.created_at, USERS.c.confirmed_at

Data = Mapping[str, object]


class EventContents:
    """Events that are sent at the same time are read together."""

    def __init__(self, database: Database, *, gather: float = GATHER) -> None:
        self._database = database
        self._reading: GroupCommit[Email, Data | None] = GroupCommit(self._read, gather=gather)

    async def body(self, event: Email) -> bytes | None:
        """None if its user has been erased. Raises DatabaseUnavailable."""
        if event.kind == Kind.USER_ERASED:
            return encode(event.kind, event.created_at, {"id": str(event.subject_id)})
        data = await self._reading.submit(event, give_up_after=None)
        return encode(event.kind, event.created_at, data) if data is not None else None

    async def _read(self, events: Sequence[Email]) -> Sequence[Data | None]:
        failed = [event.subject_id for event in events if event.kind == Kind.EMAIL_FAILED]
        async with self._database.read_only() as connection:
            ids = {event.user_id for event in events}
            found = await connection.execute(select(*USER).where(USERS.c.id.in_(ids)))
            users = {row["id"]: row for row in found.mappings()}
            kinds: dict[UUID | None, str] = {}
            if failed:
                emails = select(OUTBOX.c.id, OUTBOX.c.kind).where(OUTBOX.c.id.in_(failed))
                kinds = {email_id: kind for email_id, kind in await connection.execute(emails)}
        return [_data(event, users.get(event.user_id), kinds) for event in events]


def encode(kind: str, happened_at: datetime | None, data: Data) -> bytes:
    event = {"type": kind, "timestamp": _format(happened_at), "data": data}
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def encode_ping() -> bytes:
    """An event that tells nothing, to see whether the endpoint takes any."""
    return encode("ping", datetime.now(UTC), {})


def _data(event: Email, user: RowMapping | None, kinds: Mapping[UUID | None, str]) -> Data | None:
    if user is None:
        return None
    data: dict[str, Any] = {
        "id": str(user["id"]),
        "email": user["email"],
        "name": user["name"],
        "locale": user["locale"],
        "created_at": _format(user["created_at"]),
        "confirmed_at": _format(user["confirmed_at"]),
    }
    if event.kind == Kind.EMAIL_FAILED:
        data |= {"kind": kinds.get(event.subject_id, Kind.WELCOME), "reason": event.reason}
    return data


def _format(moment: datetime | None) -> str | None:
    """RFC 3339, as the API writes it."""
    return moment.isoformat().replace("+00:00", "Z") if moment else None
