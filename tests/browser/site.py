"""Runs `signup-service up` for a browser."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.processes import Process


@dataclass(frozen=True)
class Site:
    """The URLs of its pages."""

    url: str
    inbox: str
    smtp_port: int

    async def sign_up(self, address: str, *, name: str = "Ada", language: str = "en") -> str:
        """Signs up as a frontend does. Returns the URL of the page that follows the form."""
        async with httpx.AsyncClient(headers={"Accept-Language": language}) as client:
            answer = await client.post(f"{self.url}/signup", json={"email": address, "name": name})
        assert answer.status_code == 201, answer.text
        return f"{self.url}/welcome/{answer.json()['id']}"

    async def empty_inbox(self) -> None:
        """Waits for all mails first, so that none arrives during the next test."""
        async with httpx.AsyncClient() as client:

            async def delivered() -> bool:
                return "\nwelcome_emails_pending 0.0\n" in (await client.get(f"{self.url}/metrics")).text

            await eventually(delivered)
            await client.delete(f"{self.inbox}/api/v1/messages")


@asynccontextmanager
async def started(*options: str, folder: Path, **settings: object) -> AsyncIterator[Site]:
    """Runs `signup-service up` without a rate limit, because tests sign up often."""
    inbox, smtp = free_port(), free_port()
    ports = {"INBOX_HTTP_PORT": inbox, "INBOX_SMTP_PORT": smtp}
    environment = {"SIGNUP_RATE_LIMIT": "", **ports, **settings}
    process = await Process("up", *options, folder=folder, environment=environment).start()
    try:
        await process.ready(path="/readyz")
        yield Site(url=process.url, inbox=f"http://127.0.0.1:{inbox}", smtp_port=smtp)
    finally:
        await process.stop()
