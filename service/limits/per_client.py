"""How often one client may sign up: counted in this process, and shared with the others every second."""

import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from service.database.engine import Database, DatabaseUnavailable
from service.limits.rate_counts import RateCounts
from service.runtime.background import repeat_in_background
from service.settings.rate import Rate

SHARE_EVERY = 1.0  # s
MAX_CLIENTS = 50_000  # that are counted at once, some 15 MB; IPv6 has more /64s than any memory
MAX_SHARED = 10_000  # of them in the table, for each window
SHARED_AT_ONCE = 1_000
SHARE_FROM = 0.05  # of the limit: a row for every passing client would be a gift to an attacker
COUNT_BITS = 32  # more than a limit can have
CLOCK_TOLERANCE = 1.0  # s
PREFIX = "signup:"


@dataclass(slots=True)
class _Count:
    here: int = 0  # counted by this process
    shared: int = 0  # of these, in the table
    elsewhere: int = 0  # what other processes have put there


@dataclass(slots=True)
class _Window:
    ends_at: datetime
    ends: float  # on the monotonic clock
    counts: OrderedDict[str, _Count] = field(default_factory=OrderedDict)  # who came last stands last
    # By the bits of their count, so that the busiest are found without looking at all.
    unshared: list[dict[str, None]] = field(default_factory=lambda: [{} for _ in range(COUNT_BITS)])
    in_table: int = 0
    is_first_look: bool = True

    def count_for(self, client: str) -> _Count:
        found = self.counts.get(client)
        if found is None:
            found = self.counts[client] = _Count()
            if len(self.counts) > MAX_CLIENTS:
                forgotten, count = self.counts.popitem(last=False)
                self.unshared[count.here.bit_length()].pop(forgotten, None)
        else:
            self.counts.move_to_end(client)
        return found

    def mark_unshared(self, client: str, count: int) -> None:
        bits = count.bit_length()
        self.unshared[bits - 1].pop(client, None)
        self.unshared[bits][client] = None

    def take_unshared(self) -> dict[str, int]:
        """What the table does not have yet, the busiest clients first."""
        taken: dict[str, int] = {}
        room = MAX_SHARED - self.in_table
        for client in self._pop_busiest(SHARED_AT_ONCE):
            count = self.counts[client]
            if count.shared or room > 0:
                room -= not count.shared
                taken[client] = count.here - count.shared
        return taken

    def give_back(self, taken: Iterable[str]) -> None:
        """Puts back what could not be written."""
        for client in taken:
            if count := self.counts.get(client):
                self.mark_unshared(client, count.here)

    def apply_totals(self, taken: Mapping[str, int], totals: Mapping[str, int]) -> None:
        for client, total in totals.items():
            count = self.count_for(client)
            self.in_table += client in taken and not count.shared
            count.shared += taken.get(client, 0)
            count.here = max(count.here, count.shared)  # it may have been forgotten meanwhile
            count.elsewhere = max(total - count.shared, 0)

    def _pop_busiest(self, at_most: int) -> Iterator[str]:
        for clients in reversed(self.unshared):
            while clients and at_most:
                at_most -= 1
                yield clients.popitem()[0]


class SignupLimit:
    """A request costs it a look into a dictionary. Without the database each process counts alone."""

    def __init__(self, rate: Rate, *, database: Database) -> None:
        self._rate = rate
        self._database = database
        self._counts = RateCounts(database)
        self._share_from = max(int(rate.limit * SHARE_FROM), 1)
        self._clock_offset = time.time() - time.monotonic()  # until the database tells its time
        self._window = self._new_window()

    def hit(self, client: str) -> int:
        """Counts one signup. Returns 0, or if it is one too many, after how many seconds to try again."""
        window = self._current_window()
        count = window.count_for(client)
        if count.here + count.elsewhere >= self._rate.limit:
            return max(math.ceil(window.ends - time.monotonic()), 1)
        count.here += 1
        if count.here >= self._share_from:
            window.mark_unshared(client, count.here)
        return 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with repeat_in_background(self._round):
            yield

    async def share(self) -> None:
        """Writes what was counted here, and reads who is at the limit. Raises DatabaseUnavailable."""
        window = self._current_window()
        taken = window.take_unshared()
        try:
            clock_offset, totals = await self._exchange(window, taken)
        except DatabaseUnavailable:
            window.give_back(taken)
            raise
        window.is_first_look = False
        window.apply_totals(taken, totals)
        self._set_clock(clock_offset)

    async def _exchange(self, window: _Window, taken: Mapping[str, int]) -> tuple[float, dict[str, int]]:
        writes = taken or window.is_first_look
        async with self._database.transaction() if writes else self._database.read_only() as connection:
            now = await self._database.now(connection)
            clock_offset = now.timestamp() - time.monotonic()
            if window.is_first_look:
                await self._counts.delete_expired(connection, now=now)
            more = {f"{PREFIX}{client}": count for client, count in taken.items()}
            totals = await self._counts.add(connection, more, ends_at=window.ends_at)
            totals |= await self._counts.find_exhausted(
                connection,
                prefix=PREFIX,
                limit=self._rate.limit,
                ends_at=window.ends_at,
                at_most=MAX_SHARED,
            )
        return clock_offset, {scope.removeprefix(PREFIX): count for scope, count in totals.items()}

    async def _round(self) -> float:
        with self._database.tolerate_outage("limits"):
            await self.share()
        return SHARE_EVERY

    def _current_window(self) -> _Window:
        if time.monotonic() >= self._window.ends:
            self._window = self._new_window()
        return self._window

    def _new_window(self) -> _Window:
        ends_at = self._rate.window_end(datetime.fromtimestamp(time.monotonic() + self._clock_offset, UTC))
        return _Window(ends_at=ends_at, ends=ends_at.timestamp() - self._clock_offset)

    def _set_clock(self, offset: float) -> None:
        """Sets the clock to the database's, which is the one clock of all replicas."""
        is_wrong = abs(offset - self._clock_offset) > CLOCK_TOLERANCE
        self._clock_offset = offset
        if not is_wrong:
            return
        window = self._new_window()
        if window.ends_at == self._window.ends_at:  # the counts stay, or a slow query would reset the limit
            self._window.ends = window.ends
        else:
            self._window = window
