"""What the outbox owes, and by which channel. In a module of its own, so that `--help` need not import the
tables."""

from enum import StrEnum


class ChannelName(StrEnum):
    MAIL = "mail"  # to people, through the relay
    WEBHOOK = "webhook"  # to your own system, at WEBHOOK_URL


class Kind(StrEnum):
    WELCOME = "welcome"
    CONFIRMATION = "confirmation"  # asks a new user to confirm the address
    USER_CREATED = "user.created"
    USER_CONFIRMED = "user.confirmed"
    USER_ERASED = "user.erased"
    EMAIL_FAILED = "email.failed"

    @property
    def channel(self) -> ChannelName:
        return ChannelName.MAIL if self in (Kind.WELCOME, Kind.CONFIRMATION) else ChannelName.WEBHOOK
