"""Ids that sort by time, so that new rows are next to each other in the index."""

import sys
from uuid import UUID

if sys.version_info >= (3, 14):
    from uuid import uuid7 as new_id

    def new_hex() -> str:
        """The same, in hexadecimal digits."""
        return new_id().hex
else:
    import uuid_utils
    from uuid_utils.compat import uuid7

    def new_id() -> UUID:
        """A version 7 UUID (RFC 9562, section 5.7)."""
        made: UUID = uuid7()
        return made

    def new_hex() -> str:
        """The same, in hexadecimal digits."""
        # Without creating a UUID, which takes five sixths of the time.
        return uuid_utils.uuid7().hex


def parse_id(text: str) -> UUID | None:
    """None for what is no id, so that a path with it is not found."""
    try:
        return UUID(text)
    except ValueError:
        return None


__all__ = ["new_hex", "new_id", "parse_id"]
