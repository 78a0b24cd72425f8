"""One request's record, as it is spooled, digested and stored."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID

DIGEST_SIZE = hashlib.sha256().digest_size  # bytes
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Entry:
    """Never a body, an address, a name or a query string."""

    instance: UUID  # the process that answered
    seq: int  # gapless within the instance, from 1
    occurred_us: int  # microseconds since 1970
    request_id: str
    method: str
    route: str | None  # the template, not the path
    status: int
    duration_us: int
    response_bytes: int
    user_id: UUID | None
    client_network: str | None

    def payload(self) -> bytes:
        """All fields in one canonical spelling: what the digest covers and the spool holds."""
        return json.dumps(
            [
                self.instance.hex,
                self.seq,
                self.occurred_us,
                self.request_id,
                self.method,
                self.route,
                self.status,
                self.duration_us,
                self.response_bytes,
                self.user_id and self.user_id.hex,
                self.client_network,
            ],
            separators=(",", ":"),
        ).encode("ascii")

    @classmethod
    def from_payload(cls, payload: bytes) -> Self:
        """Raises ValueError for anything that `payload` did not write."""
        match json.loads(payload):
            case [str(instance), int(), int(), str(), str(), _, int(), int(), int(), user_id, _] as fields:
                fields[0] = UUID(instance)
                fields[9] = user_id and UUID(user_id)
                return cls(*fields)
        raise ValueError("not an audit entry")

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        fields = {name: row[name] for name in cls.__slots__ if name != "occurred_us"}
        return cls(occurred_us=(row["occurred_at"] - EPOCH) // timedelta(microseconds=1), **fields)

    def to_row(self, digest: bytes) -> dict[str, object]:
        row: dict[str, object] = {name: getattr(self, name) for name in self.__slots__}
        row["occurred_at"] = EPOCH + timedelta(microseconds=row.pop("occurred_us"))  # type: ignore[arg-type]  # an int
        return row | {"digest": digest}


def digest(payload: bytes, *, key: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104). Without a key it finds mistakes, not forgers."""
    return hmac.digest(key, payload, hashlib.sha256)
