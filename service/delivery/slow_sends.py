"""Keeps recipients that the relay answers slowly from occupying every connection."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from service.outbox.row import Email

SLOW = 2.0  # s
FAST_WITHIN = 60.0  # s since a mail was taken fast: a relay that is slow with all is waited for
MAX_REMEMBERED = 10_000  # emails


class SlowSendCancelled(Exception):
    """The email was not sent, so that others need not wait for it."""


class SlowSends:
    """A send that takes long is cancelled once if others wait, as long as its content has not been sent.
    After that it may take all its time, but no more than half of the places go to such emails."""

    def __init__(self, places: int) -> None:
        self._most = max(places // 2, 1)
        self._begun: dict[UUID, tuple[float, asyncio.Timeout]] = {}  # those that can be cancelled
        self._cancelled: dict[UUID, None] = {}
        self._again = 0  # of the cancelled ones, how many are being sent
        self._fast_at: float | None = None

    def has_room(self, email: Email) -> bool:
        return email.id not in self._cancelled or self._again < self._most

    @asynccontextmanager
    async def watch(self, email: Email) -> AsyncIterator[Callable[[], bool]]:
        """Around one send, which calls what this yields before the content. Raises SlowSendCancelled."""
        is_again = email.id in self._cancelled
        self._again += is_again
        begun = time.monotonic()
        try:
            async with asyncio.timeout(None) as cut:

                def may_send() -> bool:
                    self._begun.pop(email.id, None)
                    cut.reschedule(None)  # one that was cancelled in this very moment
                    return email.is_held()

                if not is_again:
                    self._begun[email.id] = begun, cut
                yield may_send
        except TimeoutError:
            if not cut.expired():
                raise
            self._remember(email)
            raise SlowSendCancelled from None
        else:
            if time.monotonic() - begun < SLOW:
                self._fast_at = time.monotonic()
        finally:
            self._begun.pop(email.id, None)
            self._again -= is_again

    def cancel_long(self) -> None:
        """Others wait: cancels what has been under way for long."""
        now = time.monotonic()
        if self._fast_at is None or now - self._fast_at > FAST_WITHIN:
            return
        for begun, cut in self._begun.values():
            if now - begun > SLOW and not cut.expired():
                cut.reschedule(asyncio.get_running_loop().time())

    def _remember(self, email: Email) -> None:
        self._cancelled[email.id] = None
        if len(self._cancelled) > MAX_REMEMBERED:
            del self._cancelled[next(iter(self._cancelled))]
