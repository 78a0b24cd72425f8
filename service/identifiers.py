"""Ids that sort by the time they were made, so that new rows land side by side in the index."""

import sys
from uuid import UUID

if sys.version_info >= (3, 14):
    from uuid import uuid7 as new_id
else:
    from uuid_utils.compat import uuid7

    def new_id() -> UUID:
        """A version 7 UUID (RFC 9562, section 5.7)."""
        made: UUID = uuid7()
        return made


__all__ = ["new_id"]
