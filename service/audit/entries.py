"""One request's record, as it is spooled, digested and stored."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, Self
from uuid import UUID

from pydantic_core import to_json

from service.bulk import moment

DIGEST_LENGTH = 2 * hashlib.sha256().digest_size  # hexadecimal digits


class Entry(NamedTuple):
    """Never a body, an address, a name or a query string."""

    instance: UUID  # the process that answered
    seq: int  # gapless within the instance, from 1
    occurred_at: datetime
    request_id: str
    method: str
    route: str | None  # the template, not the path
    status: int
    duration_us: int
    response_bytes: int
    user_id: UUID | None
    client_network: str | None

    def payload(self) -> bytes:
        """All fields in one canonical spelling: what the digest covers."""
        # A plain tuple of plain values: anything else would cost `to_json` three times as much.
        return to_json(
            (
                self.instance.hex,
                self.seq,
                moment(self.occurred_at),
                self.request_id,
                self.method,
                self.route,
                self.status,
                self.duration_us,
                self.response_bytes,
                self.user_id and self.user_id.hex,
                self.client_network,
            )
        )

    def line(self, *, keyed: hmac.HMAC) -> bytes:
        """As the spool holds it: a JSON array of all fields and the digest."""
        payload = self.payload()
        return b'%b,"%b"]\n' % (payload[:-1], digest(payload, keyed=keyed).encode("ascii"))

    @classmethod
    def from_line(cls, line: bytes) -> tuple[Self, str]:
        """The entry and the digest that it carries. Raises ValueError for what `line` did not write."""
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
            ] as fields if len(carried) == DIGEST_LENGTH:
                at, user = datetime.fromisoformat(occurred_at), UUID(user_id) if user_id else None
                return cls._make([UUID(instance), seq, at, *fields[3:9], user, fields[10]]), carried
        raise ValueError("not an audit entry")

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        return cls(*(row[name] for name in cls._fields))


def hmac_sha256(key: bytes) -> hmac.HMAC:
    """For `digest` (RFC 2104). Without a key it finds mistakes, not forgers."""
    return hmac.new(key, digestmod="sha256")


def digest(payload: bytes, *, keyed: hmac.HMAC) -> str:
    """In hexadecimal."""
    mac = keyed.copy()  # so the algorithm is found and the key read once for all entries
    mac.update(payload)
    return mac.hexdigest()
