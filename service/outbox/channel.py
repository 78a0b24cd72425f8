"""The interface of a channel to the outside, such as the relay, and the errors that it raises."""

from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from service.outbox.row import Email


class Fault(Enum):
    """Whose fault a refusal is, as far as the reply says."""

    RECIPIENT = auto()  # the reply says so; it proves nothing about the channel
    UNCLEAR = auto()  # the recipient's, unless there are many such refusals and no acceptance
    CHANNEL = auto()  # the channel's, unless it accepts rows for others


class Refusal(Exception):
    """The channel did not accept this row. `reason` is its reply, if there was one.

    `unknown` if it may have accepted the row: the connection broke before the reply. `retry_after` is how
    many seconds the channel asks to wait at least. `summary` is the reason without what it quotes, which may
    name anybody.
    """

    def __init__(
        self,
        reason: str,
        *,
        fault: Fault,
        unknown: bool = False,
        retry_after: float = 0.0,
        summary: str = "",
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fault = fault
        self.unknown = unknown
        self.retry_after = retry_after
        self.summary = summary or reason


class FinalRefusal(Refusal):
    """No retry helps."""

    def __init__(self, reason: str, *, fault: Fault = Fault.UNCLEAR) -> None:
        super().__init__(reason, fault=fault)


class LaterRefusal(Refusal):
    """To be tried again later."""

    def __init__(
        self,
        reason: str,
        *,
        fault: Fault = Fault.RECIPIENT,
        unknown: bool = False,
        retry_after: float = 0.0,
        summary: str = "",
    ) -> None:
        super().__init__(reason, fault=fault, unknown=unknown, retry_after=retry_after, summary=summary)


class ChannelTrouble(Exception):
    """The channel cannot be used now; the row is not at fault.

    `pause` is how many seconds it should be left alone at least, `math.inf` until the process ends.
    """

    def __init__(self, reason: str, *, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.pause = pause


class ChannelFull(Exception):
    """The channel refused one connection more than the `connections` that are open. Nothing was sent."""

    def __init__(self, reason: str, *, connections: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.connections = connections


class SendCancelled(Exception):
    """This process no longer held the row when the channel was ready for it, or the row was erased."""


class CannotBuild(Exception):
    """The message cannot be built from this row: no retry helps."""


class Channel(Protocol):
    async def send(self, email: Email, *, may_send: Callable[[], bool]) -> str:
        """Sends the row and returns the channel's reply. Asks `may_send` right before the content.

        Raises Refusal, ChannelTrouble, ChannelFull, SendCancelled or CannotBuild.
        """

    async def close_stale(self) -> None:
        """Closes connections that have been idle for long."""

    async def close(self) -> None: ...
