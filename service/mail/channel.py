"""The channel to people: builds the message of a row and hands it to the relay."""

import re
from collections.abc import Callable

from service.database.outbox_kinds import Kind
from service.mail.links import Links
from service.mail.message import Messages
from service.mail.relay import Relay
from service.outbox.channel import CannotBuild, ChannelFull, ChannelTrouble, Refusal
from service.outbox.row import Email


class MailChannel:
    """A `Channel`. It may also raise DatabaseUnavailable."""

    def __init__(self, *, messages: Messages, relay: Relay, links: Links) -> None:
        self._messages = messages
        self._relay = relay
        self._links = links

    async def send(self, email: Email, *, may_send: Callable[[], bool]) -> str:
        if email.kind == Kind.CONFIRMATION:
            return await self._send_confirmation(email, may_send=may_send)
        return await self._relay.send(self._messages.welcome(email), may_send=may_send)

    async def _send_confirmation(self, email: Email, *, may_send: Callable[[], bool]) -> str:
        """What a relay says is kept and logged, and it may quote the link, which nobody else may see."""
        if email.user_id is None:
            raise CannotBuild("it is to no user")
        token = await self._links.token(email.user_id)
        try:
            message = self._messages.confirmation(email, token=token)
            return _redact(await self._relay.send(message, may_send=may_send), token)
        except (Refusal, ChannelTrouble, ChannelFull) as exc:
            exc.reason = _redact(exc.reason, token)
            exc.args = (exc.reason,)
            if isinstance(exc, Refusal):
                exc.summary = _redact(exc.summary, token)
            raise

    async def close_stale(self) -> None:
        await self._relay.close_stale()

    async def close(self) -> None:
        await self._relay.close()


def _redact(text: str, token: str) -> str:
    return re.sub(token, "…", text, flags=re.IGNORECASE)
