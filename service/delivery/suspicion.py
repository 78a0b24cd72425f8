"""Decides whether refusals are the fault of the relay or of recipients. One client who signs up refused
addresses must not stop everybody's mail, and a relay that refuses everybody must not fail it."""

import random
import time
from collections import defaultdict, deque
from collections.abc import Collection
from typing import Any
from uuid import UUID

from service.outbox.row import Email
from service.runtime.backoff import double
from service.runtime.ids import new_id

MAX_STREAK = 10  # refusals of unclear fault in a row, without an accepted mail, before the relay is in doubt
DOMAIN_REFUSALS = 3  # emails refused in doubt, before the other emails to the domain wait
MAX_REMEMBERED = 10_000  # emails
MAX_PROBES = 20  # more than are allowed to wait for a connection
FIRST_HOLD, MAX_HOLD = 1.0, 60.0  # s
NO_ID = UUID(int=0)
FIRST_PROBE, PROBE_GROWTH, LAST_PROBE = 0.05, 1.1, 5.0  # s between probes: the first, its growth, the last


class Pace:
    """When the next probe may begin: soon at first, because people wait for their mail, and later seldom,
    because the relay may refuse everybody."""

    def __init__(self) -> None:
        self._pause = FIRST_PROBE
        self._next_at = time.monotonic() + FIRST_PROBE

    @property
    def seconds_left(self) -> float:
        return max(self._next_at - time.monotonic(), 0.0)

    def postpone(self, seconds: float) -> None:
        """The next probe begins no sooner."""
        self._next_at = max(self._next_at, time.monotonic() + seconds)

    def take(self) -> bool:
        """Whether a probe begins."""
        if self.seconds_left:
            return False
        self._next_at = time.monotonic() + self._pause
        self._pause = min(self._pause * PROBE_GROWTH, LAST_PROBE)
        return True


class Suspicion:
    """While the relay is in doubt, nothing fails. Refused emails are held. So are all emails to a domain with
    several refused ones, except for probes. All others go ahead. The first accepted email clears the relay;
    then the held emails are tried once more, and a second refusal is their own fault. Emails that waited
    because of their domain are tried twice.

    Probes are new emails and, in any order, those that wait. Each kind has its own pace, so that a new email
    need not wait for its turn among many that are refused.
    """

    def __init__(self) -> None:
        self.in_doubt = False
        self._streak = 0
        self._refused: defaultdict[str, set[UUID]] = defaultdict(set)  # by domain, since the last success
        self._held: dict[UUID, tuple[int | None, int]] = {}  # attempt, None if it waits anyway; refusals
        self._second_tries: dict[UUID, None] = {}
        self._waited: dict[str, UUID] = {}  # by domain, an id that is newer than all that waited
        self._cleared: list[tuple[UUID, int]] = []
        self._probes: deque[UUID] = deque(maxlen=MAX_PROBES)
        self._new_probes, self._waiting_probes = Pace(), Pace()

    @property
    def domains(self) -> Collection[str]:
        """The domains whose emails wait for the doubt to end."""
        return [domain for domain, ids in self._refused.items() if len(ids) >= DOMAIN_REFUSALS]

    def admit(self, email: Email) -> bool:
        """Whether this email need not wait for the doubt to end. A new one may become a probe."""
        if not self.in_doubt or len(self._refused.get(email.domain, ())) < DOMAIN_REFUSALS:
            return True
        is_new = email.attempt == 1 and email.id not in self._probes
        if is_new and self._new_probes.take():
            self._probes.append(email.id)
        return email.id in self._probes

    def record_acceptance(self) -> None:
        """The relay accepted an email."""
        self._streak = 0
        if self.in_doubt:
            self._clear()
        self._refused.clear()

    def record_refusal(self, email: Email, *, accuses_relay: bool, retry_after: float = 0.0) -> float | None:
        """How many seconds to hold the email; None if the refusal is the email's own fault.

        `accuses_relay` if one such refusal is reason enough for doubt. If the relay asks for `retry_after`
        seconds, neither the email nor a probe comes earlier.
        """
        if not self.in_doubt and email.id in self._second_tries:
            return None
        if not self.in_doubt and email.id < self._waited.get(email.domain, NO_ID):
            self._second_tries[email.id] = None
            _forget_oldest(self._second_tries)
            return max(_hold_seconds(0), retry_after)
        self._streak += 1
        if email.domain in self._refused or len(self._refused) < MAX_REMEMBERED:
            self._refused[email.domain].add(email.id)
        if not self.in_doubt and (accuses_relay or self._streak > MAX_STREAK):
            self.in_doubt = True
            self._new_probes, self._waiting_probes = Pace(), Pace()
        if not self.in_doubt:
            return None
        for pace in self._new_probes, self._waiting_probes:
            pace.postpone(retry_after)
        return self._hold(email, retry_after)

    def pop_cleared(self) -> list[tuple[UUID, int]]:
        """Ids and attempts of those that were held until the relay was cleared."""
        cleared, self._cleared = self._cleared, []
        return cleared

    @property
    def seconds_until_probe(self) -> float:
        """Seconds until any email that waits, of a refused domain too, may be tried."""
        return self._waiting_probes.seconds_left

    def begin_probe(self, email: Email) -> None:
        if self._waiting_probes.take():
            self._probes.append(email.id)

    def _hold(self, email: Email, retry_after: float) -> float:
        _, refusals = self._held.get(email.id, (0, 0))
        if email.id in self._held or len(self._held) < MAX_REMEMBERED:
            self._held[email.id] = None if retry_after else email.attempt, refusals + 1
        return max(_hold_seconds(refusals), retry_after)

    def _clear(self) -> None:
        """Ends the doubt."""
        self.in_doubt = False
        self._waited |= dict.fromkeys(self.domains, new_id())
        for email_id, (attempt, _) in self._held.items():
            self._second_tries[email_id] = None
            if attempt is not None:
                self._cleared.append((email_id, attempt))
        self._held.clear()
        self._probes.clear()
        for remembered in self._second_tries, self._waited:
            _forget_oldest(remembered)


def _hold_seconds(refusals: int) -> float:
    return double(FIRST_HOLD, times=refusals, at_most=MAX_HOLD) * random.uniform(0.5, 1)  # noqa: S311  # not a secret


def _forget_oldest(remembered: dict[Any, Any]) -> None:
    while len(remembered) > MAX_REMEMBERED:
        del remembered[next(iter(remembered))]
