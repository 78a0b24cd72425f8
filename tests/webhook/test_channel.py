"""The channel to the system behind, by itself."""

from uuid import uuid4

import pytest

from service.database.engine import Database
from service.database.outbox_kinds import Kind
from service.outbox.channel import SendCancelled
from service.outbox.row import Email, lease_end
from service.settings import Settings
from service.webhook.channel import WebhookChannel
from service.webhook.endpoint import Endpoint
from tests.support.receiver import Receiver


async def test_an_event_that_this_process_no_longer_holds_is_not_sent(
    settings: Settings, database: Database, receiver: Receiver
) -> None:
    channel = WebhookChannel(database, Endpoint(settings))
    event = Email(
        id=uuid4(),
        recipient="",
        name=None,
        request_id="",
        attempt=1,
        deferrals=0,
        held_until=lease_end(),
        kind=Kind.USER_ERASED,
        subject_id=uuid4(),
    )

    with pytest.raises(SendCancelled):
        await channel.send(event, may_send=lambda: False)
    await channel.send(event, may_send=lambda: True)

    await channel.close()
    assert [received.id for received in receiver.taken] == [str(event.id)]
