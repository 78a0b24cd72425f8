"""Mails over the budget wait for a later window; nothing is refused, dropped or held against them."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from service.database.engine import Database
from service.database.models import OUTBOX
from service.limits.rate_counts import COUNTS
from service.observability.metrics import Metrics
from service.outbox import repository as module
from service.outbox.repository import Outbox
from service.outbox.row import Deferred, Email, Outcome, Released
from service.outbox.send_quota import SendQuota
from service.outbox.sql import GIVE_UP_AFTER
from service.settings import Settings
from service.settings.rate import Rate
from tests.support.app import running
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.outbox import enqueue, make_due
from tests.support.relay import ScriptedRelay

DAY = timedelta(days=1)
WithBudget = Callable[..., Outbox]


@pytest.fixture
def with_budget(database: Database, metrics: Metrics) -> WithBudget:
    """The outbox of a replica. The windows are days, since those seldom end in a test."""

    def build(*, in_all: str = "", per_domain: str = "") -> Outbox:
        settings = Settings(mail_budget=in_all, domain_rate_limit=per_domain)
        return Outbox(database, metrics, SendQuota.from_settings(settings, database=database))

    return build


async def fill(outbox: Outbox, database: Database, count: int, *, domain: str = "example.com") -> None:
    for number in range(count):
        await enqueue(database, name=f"user{number}", domain=domain)


def domains(emails: Sequence[Email]) -> dict[str, int]:
    return Counter(email.recipient.rpartition("@")[2] for email in emails)


async def waits(database: Database) -> dict[int, int]:
    """How many of those that nobody has claimed wait for which of the coming windows."""
    async with database.read_only() as connection:
        now = await database.now(connection)
        tomorrow = Rate.parse("1/day").window_end(now)
        found = await connection.execute(OUTBOX.select().where(OUTBOX.c.attempt == 0))
        waiting = [row for row in found if row.due_at > now]
    for row in waiting:
        assert (row.status, row.deferrals, row.last_reply) == ("pending", 0, None)
        assert row.give_up_at - row.due_at > GIVE_UP_AFTER - timedelta(minutes=1)
    return Counter((row.due_at - tomorrow) // DAY + 1 for row in waiting)


async def test_what_is_over_the_budget_waits(with_budget: WithBudget, database: Database) -> None:
    outbox = with_budget(in_all="3/day")
    await fill(outbox, database, 5)

    assert len(await outbox.claim(10)) == 3
    assert await outbox.claim(10) == []

    assert await waits(database) == {1: 2}


async def test_it_waits_for_a_window_that_has_room(with_budget: WithBudget, database: Database) -> None:
    outbox = with_budget(in_all="3/day")
    await fill(outbox, database, 11)

    while await outbox.claim(2):
        pass

    assert await waits(database) == {1: 3, 2: 3, 3: 2}


async def test_a_domain_over_its_limit_keeps_no_other_waiting(
    with_budget: WithBudget, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUOTA_LOOKAHEAD", 5)
    outbox = with_budget(per_domain="3/day")
    await fill(outbox, database, 20)
    await fill(outbox, database, 2, domain="example.org")

    assert domains(await outbox.claim(5)) == {"example.com": 3}
    assert domains(await outbox.claim(5)) == {"example.org": 2}


async def test_what_its_domain_does_not_take_costs_the_whole_nothing(
    with_budget: WithBudget, database: Database
) -> None:
    outbox = with_budget(per_domain="2/day", in_all="4/day")
    for domain in ("example.com", "example.org", "example.net"):
        await fill(outbox, database, 4, domain=domain)

    assert domains(await outbox.claim(100)) == {"example.com": 2, "example.org": 2}


async def test_what_the_whole_does_not_take_costs_its_domain_nothing(
    with_budget: WithBudget, database: Database
) -> None:
    outbox = with_budget(per_domain="3/day", in_all="2/day")
    await fill(outbox, database, 4)
    assert len(await outbox.claim(100)) == 2

    found = await rows(database, "SELECT count FROM rate_counts WHERE scope = 'mails to example.com'")
    assert [row["count"] for row in found] == [2]


async def test_replicas_share_it(with_budget: WithBudget, database: Database) -> None:
    replicas = [with_budget(in_all="5/day", per_domain="4/day") for _ in range(4)]
    for domain in ("example.com", "example.org"):
        await fill(replicas[0], database, 10, domain=domain)

    claims = await asyncio.gather(*(outbox.claim(3) for outbox in replicas * 3))

    emails = [email for claim in claims for email in claim]
    assert len(emails) == len({email.id for email in emails}) == 5
    assert max(domains(emails).values()) <= 4


@pytest.mark.parametrize(
    ("outcome", "more"), [(Released("421 closing"), 2), (Released(), 2), (Deferred("451 busy"), 0)]
)
async def test_what_was_not_sent_for_another_reason_than_itself_is_given_back(
    with_budget: WithBudget, database: Database, outcome: Outcome, more: int
) -> None:
    outbox = with_budget(in_all="3/day", per_domain="3/day")
    await fill(outbox, database, 3)
    claimed = await outbox.claim(10)

    await asyncio.gather(*(outbox.record(email, outcome) for email in claimed[:2]))

    await make_due(database)
    assert len(await outbox.claim(10)) == more


async def test_old_counts_are_deleted(with_budget: WithBudget, database: Database) -> None:
    async with database.transaction() as connection:
        old = {"ends_at": datetime(2020, 1, 1, tzinfo=UTC), "scope": "mails", "count": 3}
        await connection.execute(COUNTS.insert(), old)

    await with_budget(in_all="3/day").claim(1)

    assert [row for row in await rows(database, "SELECT * FROM rate_counts") if row["count"]] == []


async def test_all_are_told_201_and_all_get_their_mail_in_time(
    settings: Settings, database: Database, relay: ScriptedRelay
) -> None:
    budget = Rate.parse("2/second")
    async with running(settings.model_copy(update={"mail_budget": budget})) as live:
        answers = [
            await live.client.post("/signup", json={"email": f"user{number}@example.com"})
            for number in range(5)
        ]
        assert {answer.status_code for answer in answers} == {201}

        await eventually(lambda: len(relay.accepted) == 5, within=15)

    assert set(relay.recipients.values()) == {1}
    async with database.read_only() as connection:
        times = list((await connection.execute(select(OUTBOX.c.finished_at))).scalars())
    assert max(times) - min(times) > timedelta(seconds=0.5)  # in three windows of a second each
