"""One request's record, as it is spooled, digested and stored."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple, Self
from uuid import UUID

from pydantic_core import to_json

from service.database.json_rows import format_timestamp

DIGEST_SIZE = 32  # bytes


class Entry(NamedTuple):
    """Never a body, an address, a name or a query string. All is spelled as the table takes it."""

    instance: str  # the process that answered, in hexadecimal digits
    seq: int  # gapless within the instance, from 1
    occurred_at: str  # as `format_timestamp` spells it
    request_id: str
    method: str
    route: str | None  # the template, not the path
    status: int
    duration_us: int
    response_bytes: int
    user_id: str | None  # in hexadecimal digits
    client_network: str | None

    def payload(self) -> bytes:
        """All fields in one canonical spelling: what the digest covers."""
        return to_json(tuple(self))  # a NamedTuple would take it three times as long

    @classmethod
    def from_line(cls, line: bytes) -> tuple[Self, str]:
        """The entry and the digest that it carries. Raises ValueError for what `spooled` did not write."""
        match json.loads(line):
            case [
                str(instance),
                int(),
                str(occurred_at),
                str(),
                str(),
                None | str(),
                int(),
                int(),
                int(),
                None | str() as user_id,
                None | str(),
                str(carried),
            ] as fields if len(carried) == 2 * DIGEST_SIZE:
                # Only to raise ValueError.
                UUID(instance), datetime.fromisoformat(occurred_at), user_id and UUID(user_id)
                return cls._make(fields[:-1]), carried
        raise ValueError("not an audit entry")

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        user_id = row["user_id"]
        spelled = {
            "instance": row["instance"].hex,
            "occurred_at": format_timestamp(row["occurred_at"]),
            "user_id": user_id and user_id.hex,
        }
        return cls(*(spelled.get(name, row[name]) for name in cls._fields))


def spooled(fields: tuple[object, ...], *, key: bytes) -> bytes:
    """An entry's fields as the spool holds them: a JSON array of them and their digest."""
    payload = to_json(fields)
    return b'%b,"%b"]\n' % (payload[:-1], digest(payload, key=key).encode("ascii"))


def format_timestamp_ns(since_epoch: int) -> str:
    """As `format_timestamp` spells it, at a third of the price: the second has mostly been spelled before."""
    seconds, rest = divmod(since_epoch, 1_000_000_000)
    return f"{_second(seconds)}.{rest // 1000:06}+00:00"


@lru_cache(maxsize=2)
def _second(since_epoch: int) -> str:
    return datetime.fromtimestamp(since_epoch, UTC).strftime("%Y-%m-%d %H:%M:%S")


def digest_key(secret: bytes) -> bytes:
    """For `digest`, which takes 64 bytes at most. Without a secret it finds mistakes, not forgers."""
    return secret if len(secret) <= blake2b.MAX_KEY_SIZE else blake2b(secret).digest()


def digest(payload: bytes, *, key: bytes) -> str:
    """BLAKE2b with a key (RFC 7693, section 2.9), in hexadecimal."""
    # HMAC needs two digests and goes through Python: that was a fortieth of a busy core.
    return blake2b(payload, key=key, digest_size=DIGEST_SIZE).hexdigest()
