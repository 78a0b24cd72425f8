from collections.abc import AsyncIterator

import pytest
from aiosmtplib import SMTP
from httpx import ASGITransport, AsyncClient

from service.inbox.app import create_inbox
from service.inbox.smtp_server import InboxSmtpServer
from service.inbox.store import MailStore


@pytest.fixture
def store() -> MailStore:
    return MailStore()


@pytest.fixture
async def browser(store: MailStore) -> AsyncIterator[AsyncClient]:
    transport = ASGITransport(create_inbox(store))
    async with AsyncClient(transport=transport, base_url="http://localhost:8025") as client:
        yield client


@pytest.fixture
async def smtp(store: MailStore) -> AsyncIterator[InboxSmtpServer]:
    server = InboxSmtpServer(store, host="127.0.0.1", port=0)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def sender(smtp: InboxSmtpServer) -> AsyncIterator[SMTP]:
    client = SMTP(hostname="127.0.0.1", port=smtp.port, timeout=5)
    await client.connect()
    yield client
    client.close()
