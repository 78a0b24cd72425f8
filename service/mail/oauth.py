"""Access tokens for a relay that wants XOAUTH2, from the provider's token endpoint (RFC 6749)."""

import asyncio
import json
import math
from http import HTTPStatus
from time import monotonic
from typing import Any
from urllib.parse import quote_plus

from service.mail.connection import TokenTrouble
from service.runtime.http_client import ERRORS, HttpClient, describe
from service.settings import Settings

TIMEOUT = 8.0  # s, for the whole request: less than a connection to the relay is given
RENEW_EARLY = 60.0  # s
ASSUMED_LIFETIME = 3600.0  # s, where the endpoint names none; a relay that no longer takes a token says so
MAX_DETAIL = 200  # characters


class AccessTokens:
    """Keeps one token, and fetches the next a minute before it ends."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.smtp_oauth_token_url
        self._form = _form(settings)
        self._secrets = [
            self._form[name] for name in ("client_secret", "refresh_token") if name in self._form
        ]
        self._lock = asyncio.Lock()
        self._token = ""
        self._renew_at = 0.0
        self._trouble: TokenTrouble | None = None
        self._trouble_at = -math.inf

    async def get(self) -> str:
        """Raises TokenTrouble."""
        asked_at = monotonic()
        async with self._lock:
            if self._trouble and self._trouble_at >= asked_at:  # whoever waited for it shares the failure
                raise self._trouble
            if not self._token or monotonic() >= self._renew_at:
                try:
                    self._token, lifetime = await self._fetch()
                except TokenTrouble as exc:
                    self._trouble, self._trouble_at = exc, monotonic()
                    raise
                self._renew_at = monotonic() + max(lifetime - RENEW_EARLY, lifetime / 2)
            return self._token

    def discard(self, token: str) -> None:
        """The relay refused it. Another one that was fetched since then stays."""
        if token == self._token:
            self._token = ""

    async def _fetch(self) -> tuple[str, float]:
        """The token and for how many seconds it is valid."""
        try:
            async with asyncio.timeout(TIMEOUT):
                status, fields = await self._post()
        except TimeoutError as exc:
            raise TokenTrouble(f"{self._url} did not answer within {TIMEOUT:g} s") from exc
        except ERRORS as exc:
            reason = self._redact(describe(exc))
            raise TokenTrouble(f"{self._url} cannot be used: {reason}") from exc
        token = fields.get("access_token")
        if status == HTTPStatus.OK and isinstance(token, str) and _is_sendable(token):
            return token, _lifetime(fields.get("expires_in"))
        raise self._refusal(status, fields)

    async def _post(self) -> tuple[int, dict[str, Any]]:
        async with (
            HttpClient(self._url, headers={"Accept": "application/json"}) as client,
            client.post(self._form) as response,
        ):
            return response.status, _fields(await response.read())

    def _refusal(self, status: int, fields: dict[str, Any]) -> TokenTrouble:
        error = fields.get("error")
        if not isinstance(error, str) or not error:
            return TokenTrouble(f"{self._url} answered with status {status} and no access token")
        detail = self._redact(f"{error}: {fields.get('error_description') or f'status {status}'}")
        return TokenTrouble(f"{self._url} refused: {detail}", error=error)

    def _redact(self, text: str) -> str:
        """In one line, and without our secrets, in case the endpoint repeats what it was sent."""
        for secret in self._secrets:
            text = text.replace(secret, "…").replace(quote_plus(secret), "…")
        return "".join(char if char.isprintable() else " " for char in text)[:MAX_DETAIL]


def _form(settings: Settings) -> dict[str, str]:
    refresh_token = settings.smtp_oauth_refresh_token.get_secret_value()
    form = {
        "grant_type": "refresh_token" if refresh_token else "client_credentials",
        "refresh_token": refresh_token,
        "client_id": settings.smtp_oauth_client_id,
        "client_secret": settings.smtp_oauth_client_secret.get_secret_value(),
        "scope": settings.smtp_oauth_scope,
    }
    return {name: value for name, value in form.items() if value}


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _is_sendable(token: str) -> bool:
    return bool(token) and token.isascii() and token.isprintable()


def _lifetime(expires_in: object) -> float:
    """In seconds. Some endpoints send a string."""
    try:
        seconds = float(expires_in) if isinstance(expires_in, int | float | str) else ASSUMED_LIFETIME
    except (ValueError, OverflowError):
        return ASSUMED_LIFETIME
    return seconds if 0 <= seconds < math.inf else ASSUMED_LIFETIME
