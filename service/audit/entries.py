"""One request's record, as it is spooled, digested and stored."""

import hmac
import json
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple, Self
from uuid import UUID

from pydantic_core import to_json
from sqlalchemy import RowMapping

from service.database.json_rows import format_timestamp

DIGEST_SIZE = 32  # bytes


class Entry(NamedTuple):
    """What is kept of one request: never a body, an address, a name or a query string."""

    occurred_at: str  # as `format_timestamp` spells it
    request_id: str
    method: str
    route: str | None  # the template, not the path
    status: int
    duration_us: int
    response_bytes: int
    user_id: str | None  # in hexadecimal digits
    client_network: str | None


class NumberedEntry(NamedTuple):
    """An entry and its place in the log."""

    instance: str  # the process that answered, in hexadecimal digits
    seq: int  # gapless within the instance, from 1
    entry: Entry

    def payload(self) -> bytes:
        """All fields in one canonical spelling: what the digest covers."""
        return to_json((self.instance, self.seq, *self.entry))

    def to_line(self, *, key: bytes) -> bytes:
        """As the spool holds it: a JSON array of all fields and their digest."""
        payload = self.payload()
        return b'%b,"%b"]\n' % (payload[:-1], digest(payload, key=key).encode("ascii"))

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Raises ValueError for what `to_line` did not write."""
        match json.loads(line):
            case [
                str(instance),
                int(seq),
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
                return cls(instance, seq, Entry._make(fields[2:-1]))
        raise ValueError("not an audit entry")

    @classmethod
    def from_row(cls, row: RowMapping) -> Self:
        entry = Entry(*(_to_json_value(row[name]) for name in Entry._fields))
        return cls(_to_json_value(row["instance"]), row["seq"], entry)


def _to_json_value(value: Any) -> Any:
    match value:
        case datetime():
            return format_timestamp(value)
        case UUID():
            return value.hex
    return value


def format_timestamp_ns(since_epoch: int) -> str:
    """Like `format_timestamp`, at a third of the cost: the second has mostly been formatted before."""
    seconds, rest = divmod(since_epoch, 1_000_000_000)
    return f"{_format_second(seconds)}.{rest // 1000:06}+00:00"


@lru_cache(maxsize=2)
def _format_second(since_epoch: int) -> str:
    return datetime.fromtimestamp(since_epoch, UTC).strftime("%Y-%m-%d %H:%M:%S")


def digest_key(secret: bytes) -> bytes:
    """For `digest`, which takes 64 bytes at most. Without a secret it finds mistakes, not forgers."""
    return secret if len(secret) <= blake2b.MAX_KEY_SIZE else blake2b(secret).digest()


def digest(payload: bytes, *, key: bytes) -> str:
    """BLAKE2b with a key (RFC 7693, section 2.9), in hexadecimal."""
    # HMAC needs two digests and goes through Python: that was a fortieth of a busy core.
    return blake2b(payload, key=key, digest_size=DIGEST_SIZE).hexdigest()


def is_equal(one: str, other: object) -> bool:
    """Whether two digests are the same, whatever somebody put in place of the other."""
    return hmac.compare_digest(one.encode(), str(other).encode())
