"""All that delivers emails, with a real relay and database; and a clock for tests without them."""

import time
from collections.abc import AsyncIterator

import pytest

from service.database.engine import Database
from service.delivery.assembly import MailDelivery
from service.observability.metrics import Metrics
from service.settings import Settings
from tests.support.clock import Clock


@pytest.fixture
async def mailing(settings: Settings, database: Database, metrics: Metrics) -> AsyncIterator[MailDelivery]:
    mailing = MailDelivery.build(settings, database=database, metrics=metrics)
    yield mailing
    await mailing.delivery.drain()
    await mailing.relay.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock.read)
    return clock
