"""The endpoint of your own system: posts to it, and says what its answers mean for an event."""

import asyncio
import contextlib
import math
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp

from service import __version__
from service.outbox.channel import ChannelTrouble, Fault, LaterRefusal
from service.runtime.http_client import ERRORS, NOT_CONNECTED, HttpClient, describe, printable
from service.settings import Settings
from service.settings.urls import host_in_url
from service.webhook.signature import sign

CONNECTIONS = 5  # of each process
TIMEOUT = 15.0  # s, for the whole request
IDLE_TIMEOUT = 3.0  # s; many servers close a connection after five, just as it is used again
MAX_WORDS = 300  # characters of a refusal that are kept
MAX_BODY = 16 * 1024  # bytes of an answer that are read, so that its connection can be used again
BODY_TIMEOUT = 2.0  # s
MAX_RETRY_AFTER = 86_400.0  # s; longer, and an event would be given up without another try
# What a proxy says when what is behind it is away, and a system that wants to be left alone.
AWAY = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
REDIRECTS = range(300, 400)


class Endpoint:
    def __init__(self, settings: Settings) -> None:
        self._keys = settings.webhook_keys
        parts = urlsplit(settings.webhook_url)
        default_port = 443 if parts.scheme == "https" else 80
        self.address = f"{host_in_url(parts.hostname or '')}:{parts.port or default_port}"
        self._client = HttpClient(
            settings.webhook_url,
            connections=CONNECTIONS,
            idle_timeout=IDLE_TIMEOUT,
            headers={"Content-Type": "application/json", "User-Agent": f"signup-service/{__version__}"},
        )

    async def post(self, webhook_id: str, body: bytes) -> str:
        """The endpoint's status line, if it took the event. Raises LaterRefusal or ChannelTrouble."""
        headers = sign(webhook_id, body, at=int(time.time()), keys=self._keys)
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                self._client.post(body, headers=headers) as response,
            ):
                words = await _read_words(response)
        except NOT_CONNECTED as exc:
            raise ChannelTrouble(f"{self.address} cannot be reached: {describe(exc)}") from exc
        except TimeoutError as exc:
            # This event may be why: others are tried before the endpoint is blamed.
            raise LaterRefusal(
                f"{self.address} did not answer within {TIMEOUT:g} s", fault=Fault.CHANNEL
            ) from exc
        except ERRORS as exc:
            raise LaterRefusal(
                f"{self.address} broke the connection: {describe(exc)}", fault=Fault.CHANNEL
            ) from exc
        if _is_success(response):
            return words
        raise self._refusal(response, words)

    async def close(self) -> None:
        await self._client.close()

    def _refusal(self, response: aiohttp.ClientResponse, words: str) -> LaterRefusal | ChannelTrouble:
        status = _status(response)
        if response.status == HTTPStatus.GONE:
            return ChannelTrouble(
                f"{self.address} wants no events ({status}): none is sent until the service is restarted",
                pause=math.inf,
            )
        return LaterRefusal(
            words,
            fault=Fault.CHANNEL if response.status in AWAY else Fault.UNCLEAR,
            retry_after=_retry_after(response.headers.get("Retry-After", "")),
            summary=f"{self.address} answered {status}",
        )


async def _read_words(response: aiohttp.ClientResponse) -> str:
    """The status, and of a refusal the beginning of its body. The status alone decides: a body that breaks
    off or never ends changes nothing."""
    body = b""
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_BODY:
                    break
    words = _status(response)
    detail = "" if _is_success(response) else body[: 4 * MAX_WORDS].decode("utf-8", "replace")
    location = response.headers.get("Location")
    if location and response.status in REDIRECTS:
        detail = f"redirects are not followed: to {location}"
    detail = " ".join("".join(char if char.isprintable() else " " for char in detail).split())
    return f"{words}: {detail}"[:MAX_WORDS] if detail else words


def _status(response: aiohttp.ClientResponse) -> str:
    return printable(f"{response.status} {response.reason or ''}")


def _is_success(response: aiohttp.ClientResponse) -> bool:
    return HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES


def _retry_after(value: str) -> float:
    """In seconds; zero if it cannot be read. RFC 9110, section 10.2.3: a number or a date."""
    try:
        seconds = (
            float(value)
            if value.isdecimal()
            else (parsedate_to_datetime(value).astimezone(UTC) - datetime.now(UTC)).total_seconds()
        )
    except (ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)
