"""The channel to your own system: builds the content of an event and posts it to the endpoint."""

from collections.abc import Callable

from service.database.engine import Database
from service.outbox.channel import SendCancelled
from service.outbox.row import Email
from service.webhook.endpoint import Endpoint
from service.webhook.event import EventContents


class WebhookChannel:
    """A `Channel`. It may also raise DatabaseUnavailable."""

    def __init__(self, database: Database, endpoint: Endpoint) -> None:
        self._contents = EventContents(database)
        self._endpoint = endpoint

    async def send(self, email: Email, *, may_send: Callable[[], bool]) -> str:
        body = await self._contents.body(email)
        if body is None or not may_send():
            raise SendCancelled
        return await self._endpoint.post(str(email.id), body)

    async def close_stale(self) -> None:
        """The endpoint's pool does so by itself."""

    async def close(self) -> None:
        await self._endpoint.close()
