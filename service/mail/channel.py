"""The channel to people: builds the message of a row and hands it to the relay."""

from collections.abc import Callable

from service.mail.message import Messages
from service.mail.relay import Relay
from service.outbox.row import Email


class MailChannel:
    """A `Channel`."""

    def __init__(self, *, messages: Messages, relay: Relay) -> None:
        self._messages = messages
        self._relay = relay

    async def send(self, email: Email, *, may_send: Callable[[], bool]) -> str:
        return await self._relay.send(self._messages.welcome(email), may_send=may_send)

    async def close_stale(self) -> None:
        await self._relay.close_stale()

    async def close(self) -> None:
        await self._relay.close()
