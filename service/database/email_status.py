"""The states of an email, and of an event, which is delivered the same way.

In a module of its own, so that `--help` need not import the tables.
"""

from enum import StrEnum


class EmailStatus(StrEnum):
    PENDING = "pending"  # waits for its due_at, or is being sent
    SENT = "sent"  # the relay accepted it, or the endpoint of events did
    FAILED = "failed"  # final: last_reply says why
