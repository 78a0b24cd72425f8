"""The links of confirmation mails: the id of a user, signed, so that nobody can make one up."""

import hashlib
import hmac
import re
from uuid import UUID

from sqlalchemy import select

from service.database.engine import Database, DatabaseUnavailable
from service.database.models import LINK_KEY
from service.settings import Settings

ID_DIGITS = 32
SIGNATURE_DIGITS = 32  # 128 bits
# Hexadecimal, because some programs that read mail cut a link before its last _ or -, or at a line's end
# before "=".
TOKEN = re.compile(f"[0-9a-f]{{{ID_DIGITS + SIGNATURE_DIGITS}}}")
NO_TOKEN = "0" * (ID_DIGITS + SIGNATURE_DIGITS)
NOBODY = UUID(int=0)
PURPOSE = b"confirm"  # so that a key signs nothing else by the same signature


class Links:
    """The key is LINK_KEY, or the one that the migration made: all processes have the same."""

    def __init__(self, settings: Settings, *, database: Database) -> None:
        self._key = settings.link_key.get_secret_value().encode()
        self._database = database

    async def token(self, user_id: UUID) -> str:
        """What the user's link ends in. Raises DatabaseUnavailable."""
        return f"{user_id.hex}{_sign(user_id, key=await self._load_key())}"

    async def read(self, token: str) -> UUID:
        """The user's id; NOBODY for a token that is not ours. Nobody is then looked for like anybody else,
        so that time does not tell a forged token from that of a user who is gone.

        Raises DatabaseUnavailable.
        """
        key = await self._load_key()
        text = token if TOKEN.fullmatch(token) else NO_TOKEN
        user_id = UUID(text[:ID_DIGITS])
        is_genuine = hmac.compare_digest(text[ID_DIGITS:], _sign(user_id, key=key))
        return user_id if is_genuine else NOBODY

    async def _load_key(self) -> bytes:
        if not self._key:
            async with self._database.read_only() as connection:
                key = await connection.scalar(select(LINK_KEY.c.key))
            if key is None:
                raise DatabaseUnavailable("the table link_key is empty: restore its row, or set LINK_KEY")
            self._key = key.encode()
        return self._key


def _sign(user_id: UUID, *, key: bytes) -> str:
    return hmac.digest(key, PURPOSE + user_id.bytes, hashlib.sha256).hex()[:SIGNATURE_DIGITS]
