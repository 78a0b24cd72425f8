"""What can become of an email. Apart from the tables, so that `--help` need not wait for them."""

from enum import StrEnum


class EmailStatus(StrEnum):
    PENDING = "pending"  # waits for its due_at, or is being sent
    SENT = "sent"  # the relay answered 250
    FAILED = "failed"  # final: last_reply says why
