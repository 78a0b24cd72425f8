"""The channel to the system behind, by itself."""

from dataclasses import replace

import pytest

from service.database.engine import Database
from service.database.outbox_kinds import Kind
from service.outbox.channel import SendCancelled
from service.runtime.ids import new_id
from service.settings import Settings
from service.webhook.channel import WebhookChannel
from service.webhook.endpoint import Endpoint
from tests.support.mail import row
from tests.support.receiver import Receiver


async def test_an_event_that_this_process_no_longer_holds_is_not_sent(
    settings: Settings, database: Database, receiver: Receiver
) -> None:
    channel = WebhookChannel(database, Endpoint(settings))
    event = replace(row(recipient="", name=None), kind=Kind.USER_ERASED, subject_id=new_id())

    with pytest.raises(SendCancelled):
        await channel.send(event, may_send=lambda: False)
    await channel.send(event, may_send=lambda: True)

    await channel.close()
    assert [received.id for received in receiver.taken] == [str(event.id)]
