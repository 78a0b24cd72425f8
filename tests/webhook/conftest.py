"""A receiver, and a service that hands on to it."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from service.settings import Settings
from tests.support.receiver import SECRET, Receiver


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = await Receiver.started()
    yield receiver
    await receiver.stop()


@pytest.fixture
def settings(settings: Settings, receiver: Receiver) -> Settings:
    return settings.model_copy(update={"webhook_url": receiver.url, "webhook_secret": SecretStr(SECRET)})
