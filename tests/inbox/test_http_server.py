import asyncio

import pytest
from httpx import AsyncClient

from service.inbox.http_server import InboxHttpServer
from service.inbox.store import MailStore

from .mails import catch


async def test_stopping_ends_a_page_that_waits(store: MailStore) -> None:
    inbox = InboxHttpServer(store, host="127.0.0.1", port=0)
    await inbox.start()

    async with AsyncClient(base_url=f"http://127.0.0.1:{inbox.port}") as browser:
        catch(store)
        assert (await browser.get("/api/v2/messages")).json()["total"] == 1
        waiting = asyncio.create_task(browser.get(f"/changed?since={store.version}"))
        await asyncio.sleep(0.05)
        assert not waiting.done()

        async with asyncio.timeout(10):
            await inbox.stop()

        assert (await waiting).status_code == 200


async def test_a_port_in_use_is_told(store: MailStore) -> None:
    first = InboxHttpServer(store, host="127.0.0.1", port=0)
    await first.start()
    second = InboxHttpServer(store, host="127.0.0.1", port=first.port)

    with pytest.raises(OSError, match="in use"):
        await second.start()

    await second.stop()
    await first.stop()
