"""Ids that sort by the time they were made, so that new rows land side by side in the index."""

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
        # Without a UUID on the way: that is five sixths of it.
        return uuid_utils.uuid7().hex


__all__ = ["new_hex", "new_id"]
