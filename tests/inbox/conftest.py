from collections.abc import AsyncIterator

import pytest
from aiosmtplib import SMTP
from httpx import ASGITransport, AsyncClient

from service.inbox.app import create_inbox
from service.inbox.smtp_server import InboxSmtp
from service.inbox.store import Mailbox


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
async def browser(mailbox: Mailbox) -> AsyncIterator[AsyncClient]:
    transport = ASGITransport(create_inbox(mailbox))
    async with AsyncClient(transport=transport, base_url="http://localhost:8025") as client:
        yield client


@pytest.fixture
async def smtp(mailbox: Mailbox) -> AsyncIterator[InboxSmtp]:
    server = InboxSmtp(mailbox, host="127.0.0.1", port=0)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def sender(smtp: InboxSmtp) -> AsyncIterator[SMTP]:
    client = SMTP(hostname="127.0.0.1", port=smtp.port, timeout=5)
    await client.connect()
    yield client
    client.close()
