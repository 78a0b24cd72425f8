"""Runs the app without a network."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from fastapi import FastAPI

from service.app import create_app
from service.settings import Settings


@dataclass(frozen=True)
class Running:
    """An app in its lifespan, and a client that calls it without a network."""

    app: FastAPI
    client: httpx.AsyncClient


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield Running(app, client)


async def shows(client: httpx.AsyncClient, line: str) -> bool:
    """Whether `/metrics` has the line; a counter of all processes takes a moment."""
    return line in (await client.get("/metrics")).text
