"""What a channel to the outside, such as the relay, reports of one attempt to send a row."""

from enum import Enum, auto
from typing import Protocol

from service.outbox.row import Email


class Fault(Enum):
    """Who is to blame for a refusal, as far as its words tell."""

    RECIPIENT = auto()  # the answer says so; it proves nothing about the channel
    UNCLEAR = auto()  # the recipient, unless there are many of these and nothing else
    CHANNEL = auto()  # the channel, unless it takes what is for others


class Refusal(Exception):
    """The channel did not take this row. `reason` holds its own words, if it said any.

    `unknown` if it may have taken it: the connection broke before its answer.
    """

    def __init__(self, reason: str, *, fault: Fault, unknown: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fault = fault
        self.unknown = unknown


class FinalRefusal(Refusal):
    """No retry helps."""

    def __init__(self, reason: str, *, fault: Fault = Fault.UNCLEAR) -> None:
        super().__init__(reason, fault=fault)


class LaterRefusal(Refusal):
    """To be tried again later."""

    def __init__(self, reason: str, *, fault: Fault = Fault.RECIPIENT, unknown: bool = False) -> None:
        super().__init__(reason, fault=fault, unknown=unknown)


class ChannelTrouble(Exception):
    """The channel cannot be used now; the row is not at fault.

    `full` if it only takes no more connections than there are; `pause` is how many seconds it
    should be left alone at least.
    """

    def __init__(self, reason: str, *, full: bool = False, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.full = full
        self.pause = pause


class SendCancelled(Exception):
    """When the channel was ready for the row, the row was no longer this process's to send."""


class CannotBuild(Exception):
    """What should be sent cannot be made of this row: no retry helps."""


class Channel(Protocol):
    async def send(self, email: Email) -> str:
        """The channel's reply after taking the row. Asks `email.is_held` at the last moment.

        Raises Refusal, ChannelTrouble, SendCancelled or CannotBuild.
        """

    async def close_stale(self) -> None:
        """Closes what has been idle for long."""

    async def close(self) -> None: ...
