"""The channel to the system behind, by itself."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import event as sqlalchemy_event

from service.database.engine import Database
from service.database.outbox_kinds import Kind
from service.outbox.channel import SendCancelled
from service.runtime.ids import new_id
from service.settings import Settings
from service.webhook.channel import WebhookChannel
from service.webhook.endpoint import Endpoint
from service.webhook.event import EventContents
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


async def test_events_that_begin_in_one_moment_are_read_with_one_query(database: Database) -> None:
    contents = EventContents(database, gather=0.2)
    queries: list[str] = []
    sqlalchemy_event.listen(
        database.engine.sync_engine, "before_cursor_execute", lambda *execution: queries.append(execution[2])
    )

    async def read_after(seconds: float) -> bytes | None:
        await asyncio.sleep(seconds)
        erased = replace(row(recipient="", name=None), kind=Kind.USER_CREATED, user_id=new_id())
        return await contents.body(erased)

    bodies = await asyncio.gather(*(read_after(seconds) for seconds in (0, 0.01, 0.02)))

    assert bodies == [None, None, None]
    assert len([query for query in queries if "FROM users" in query]) == 1
