"""Signs events as the Standard Webhooks specification says, so that its libraries verify them."""

import base64
import hmac
from collections.abc import Sequence


def sign(webhook_id: str, body: bytes, *, at: int, keys: Sequence[bytes]) -> dict[str, str]:
    """The headers of a try at this time, in seconds since 1970. While a secret is rotated there are two keys,
    and a receiver accepts the signature by either."""
    signed = b"%s.%d.%s" % (webhook_id.encode(), at, body)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{_digest(key, signed)}" for key in keys),
    }


def _digest(key: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
