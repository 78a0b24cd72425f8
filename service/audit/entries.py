"""One request's record, as it is spooled, digested and stored."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, Self
from uuid import UUID

from pydantic_core import to_json

from service.bulk import moment

DIGEST_LENGTH = 2 * hashlib.sha256().digest_size  # hexadecimal digits


class Entry(NamedTuple):
    """Never a body, an address, a name or a query string. All is spelled as the table takes it."""

    instance: str  # the process that answered, in hexadecimal digits
    seq: int  # gapless within the instance, from 1
    occurred_at: str  # as `moment` spells it
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
        return payload(tuple(self))

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
            ] as fields if len(carried) == DIGEST_LENGTH:
                UUID(instance), datetime.fromisoformat(occurred_at), user_id and UUID(user_id)
                return cls._make(fields[:-1]), carried
        raise ValueError("not an audit entry")

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        user_id = row["user_id"]
        spelled = {
            "instance": row["instance"].hex,
            "occurred_at": moment(row["occurred_at"]),
            "user_id": user_id and user_id.hex,
        }
        return cls(*(spelled.get(name, row[name]) for name in cls._fields))


def spooled(fields: tuple[object, ...], *, keyed: hmac.HMAC) -> bytes:
    """An entry's fields as the spool holds them: a JSON array of them and their digest."""
    covered = payload(fields)
    return b'%b,"%b"]\n' % (covered[:-1], digest(covered, keyed=keyed).encode("ascii"))


def payload(fields: tuple[object, ...]) -> bytes:
    return to_json(fields)  # of a NamedTuple, it would take three times as long


def moment_of_ns(since_epoch: int) -> str:
    """As `moment` spells it, at a third of the price: the second has mostly been spelled before."""
    seconds, rest = divmod(since_epoch, 1_000_000_000)
    return f"{_second(seconds)}.{rest // 1000:06}+00:00"


@lru_cache(maxsize=2)
def _second(since_epoch: int) -> str:
    return datetime.fromtimestamp(since_epoch, UTC).strftime("%Y-%m-%d %H:%M:%S")


def hmac_sha256(key: bytes) -> hmac.HMAC:
    """For `digest` (RFC 2104). Without a key it finds mistakes, not forgers."""
    return hmac.new(key, digestmod="sha256")


def digest(payload: bytes, *, keyed: hmac.HMAC) -> str:
    """In hexadecimal."""
    mac = keyed.copy()  # so the algorithm is found and the key read once for all entries
    mac.update(payload)
    return mac.hexdigest()
