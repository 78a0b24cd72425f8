"""A model of the promise: whatever order signups, claims, refusals, kills and hours come in, every
promised mail is sent or visibly failed in the end, and sent once unless its sender died on the way."""

import asyncio
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import uvloop
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import ColumnElement, Double, bindparam, literal

from service.database.engine import NO_TIME, Database
from service.observability.metrics import Metrics
from service.outbox.repository import Outbox
from service.outbox.row import LEASE, Deferred, Email, Failed, Outcome, Released, Sent
from service.person import address
from service.settings import DuplicatePolicy, Settings
from service.signup.registration import AddressTaken, Registration, Signup
from tests.support.database import rows

PEOPLE = st.sampled_from([f"{name}@example.com" for name in ("ada", "grace", "edsger")])


class ClockedDatabase(Database):
    """Whose clock can be turned on."""

    ahead = timedelta(0)

    def clock(self, *, after: timedelta | ColumnElement[float] = NO_TIME) -> ColumnElement[datetime]:
        seconds = literal(after.total_seconds()) if isinstance(after, timedelta) else after
        ahead = bindparam(None, callable_=lambda: self.ahead.total_seconds(), type_=Double)
        return super().clock(after=seconds + ahead)


@dataclass
class Promised:
    sent: int = 0  # times that the relay said 250
    died: int = 0  # times that its sender died between the 250 and our record of it
    statuses: list[str] = field(default_factory=lambda: ["pending"])


@dataclass(frozen=True)
class Claim:
    """What one process holds, and when by the machine's clock it took it."""

    email: Email
    at: timedelta


class Promise(RuleBasedStateMachine):
    template: Path  # a migrated file

    held: Bundle[Claim] = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="signup-promise-"))
        shutil.copy(self.template, self.folder / "service.db")
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.promised: dict[UUID, Promised] = {}
        self.by_person: dict[str, UUID] = {}
        self.born_claimed = False
        self.database = ClockedDatabase(Settings(data_dir=self.folder))
        self.outbox = Outbox(self.database, Metrics())
        self.signups = Registration(
            database=self.database,
            outbox=self.outbox,
            mailboxes=None,
            policy=DuplicatePolicy.CONFLICT,
            claims_at_once=lambda: self.born_claimed,
            metrics=Metrics(),
        )

    @initialize(target=held)
    def two_sign_up(self) -> Any:
        return multiple(*(self.sign_up(f"{name}@example.com", claimed=True) for name in ("ada", "grace")))

    @rule(target=held, person=PEOPLE, claimed=st.booleans())
    def sign_up(self, person: str, claimed: bool) -> Any:
        self.born_claimed = claimed
        try:
            registered = self.runner.run(
                self.signups.register(Signup(address=address.parse(person), name=None, request_id="r"))
            )
        except AddressTaken:
            assert person in self.by_person
            return multiple()
        assert person not in self.by_person
        self.by_person[person] = registered.id
        self.promised[self._email_of(registered.id)] = Promised()
        return Claim(registered.claimed, self.database.ahead) if registered.claimed else multiple()

    @rule(target=held, limit=st.integers(1, 3))
    def some_are_claimed(self, limit: int) -> Any:
        return self._claim(limit)

    @rule(target=held)
    def leases_end_and_others_claim(self) -> Any:
        self.database.ahead += LEASE
        return self._claim(3)

    @rule(claim=held)
    def renew(self, claim: Claim) -> None:
        before = claim.email.held_until
        self.runner.run(self.outbox.renew([claim.email]))
        assert claim.email.held_until >= before

    @rule(claim=consumes(held), dies=st.booleans())
    def relay_says_250(self, claim: Claim, dies: bool) -> None:
        if not self._may_send(claim):
            return
        promise = self.promised[claim.email.id]
        promise.sent += 1
        if dies:
            promise.died += 1
        else:
            self._record(claim, Sent("250 ok"))

    @rule(
        claim=consumes(held),
        outcome=st.sampled_from([Failed("550 no"), Deferred("451 later"), Released("421"), Released()]),
    )
    def relay_says_anything_else(self, claim: Claim, outcome: Outcome) -> None:
        self._record(claim, outcome)

    @rule(seconds=st.sampled_from([1, 30, 61, 61, 3_600, 86_400]))
    def time_passes(self, seconds: int) -> None:
        self.database.ahead += timedelta(seconds=seconds)

    @invariant()
    def every_promise_stands_in_the_outbox(self) -> None:
        found = self.runner.run(rows(self.database, "SELECT id, status, last_reply FROM outbox"))
        assert {UUID(row["id"]) for row in found} == set(self.promised)
        for row in found:
            promise = self.promised[UUID(row["id"])]
            if row["status"] != promise.statuses[-1]:
                assert promise.statuses[-1] == "pending", "what is finished stays finished"
                promise.statuses.append(row["status"])
            if row["status"] == "sent":
                assert promise.sent >= 1
            if row["status"] == "failed":
                assert row["last_reply"]
            assert promise.sent <= 1 + promise.died

    def teardown(self) -> None:
        """With a relay that works, everything that waits is sent."""
        for _ in range(3):
            self.database.ahead += timedelta(hours=2)
            for email in self.runner.run(self.outbox.claim(100)):
                self.relay_says_250(Claim(email, self.database.ahead), dies=False)
        self.every_promise_stands_in_the_outbox()
        final = Counter(promise.statuses[-1] for promise in self.promised.values())
        assert final["pending"] == 0
        self.runner.run(self.database.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def _claim(self, limit: int) -> Any:
        emails = self.runner.run(self.outbox.claim(limit))
        assert all(email.id in self.promised for email in emails)
        return multiple(*(Claim(email, self.database.ahead) for email in emails))

    def _may_send(self, claim: Claim) -> bool:
        """As `Email.is_held` decides, on the machine's clock."""
        return self.database.ahead - claim.at < LEASE

    def _record(self, claim: Claim, outcome: Outcome) -> None:
        """Whoever has lost his claim to another writes nothing."""
        before = self._row(claim.email.id)
        self.runner.run(self.outbox.record(claim.email, outcome))
        if claim.email.attempt != before["attempt"]:
            assert self._row(claim.email.id) == before

    def _row(self, email_id: UUID) -> dict[str, Any]:
        found = self.runner.run(rows(self.database, "SELECT * FROM outbox"))
        return next(dict(row) for row in found if UUID(row["id"]) == email_id)

    def _email_of(self, user_id: UUID) -> UUID:
        found = self.runner.run(rows(self.database, "SELECT id, user_id FROM outbox"))
        return next(UUID(row["id"]) for row in found if UUID(row["user_id"]) == user_id)


def test_whatever_happens_the_promise_is_kept(migrated_file: Path, long: bool) -> None:
    Promise.template = migrated_file

    run_state_machine_as_test(
        Promise,
        settings=settings(
            max_examples=1000 if long else 60,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
            derandomize=not long,
            # A failure is printed as it was found: with a database, shrinking it takes minutes.
            phases=[Phase.generate],
        ),
    )
