"""The states of an email. In a module of its own, so that `--help` need not import the tables."""

from enum import StrEnum


class EmailStatus(StrEnum):
    PENDING = "pending"  # waits for its due_at, or is being sent
    SENT = "sent"  # the relay answered 250
    FAILED = "failed"  # final: last_reply says why
