"""Tags make any number of addresses of one mailbox; a mailbox gets a few users in a while."""

import asyncio
from datetime import UTC, datetime

import httpx
import pytest

from service.database.engine import Database
from service.database.models import USERS
from service.person import address
from service.settings import Settings
from tests.support.app import running
from tests.support.database import rows

pytestmark = pytest.mark.shares_app


async def statuses(client: httpx.AsyncClient, *emails: str) -> list[int]:
    return [(await client.post("/signup", json={"email": email})).status_code for email in emails]


def tags(first: int, last: int) -> list[str]:
    return [f"ada+{number}@example.com" for number in range(first, last + 1)]


async def grow_old(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(USERS.update().values(created_at=datetime(2020, 1, 1, tzinfo=UTC)))


@pytest.mark.parametrize(
    ("typed", "untagged"),
    [
        ("ada@example.com", None),
        ("Ada+News@Example.com", "ada@example.com"),
        ("ada+a+b@example.com", "ada@example.com"),
        ("ada+@example.com", "ada@example.com"),
        ("+ada@example.com", None),
        ("adalovelace@gmail.com", None),
        ("Ada.Love.Lace@gmail.com", "adalovelace@gmail.com"),
        ("ada.lovelace+news@googlemail.com", "adalovelace@gmail.com"),
        ("adalovelace@googlemail.com", "adalovelace@gmail.com"),
        ("+ada@gmail.com", None),
        ("ada.lovelace@example.com", None),
        ("ada.lovelace@mail.gmail.com", None),
    ],
)
def test_the_mailbox_of_an_address(typed: str, untagged: str | None) -> None:
    assert address.parse(typed).untagged == untagged


async def test_the_sixth_tag_within_an_hour_is_refused(client: httpx.AsyncClient, database: Database) -> None:
    assert await statuses(client, *tags(1, 5)) == [201] * 5

    answer = await client.post("/signup", json={"email": "Ada+6@EXAMPLE.com"})

    assert (answer.status_code, answer.json()["type"]) == (429, "/problems/mailbox-rate-limited")
    assert 3500 < int(answer.headers["Retry-After"]) <= 3600
    assert len(await rows(database, "SELECT id FROM users")) == 5
    assert len(await rows(database, "SELECT id FROM outbox")) == 5


async def test_the_spellings_of_a_gmail_mailbox_count_as_one_and_are_users_of_their_own(
    client: httpx.AsyncClient, database: Database
) -> None:
    spellings = ["a.da", "ad.a", "a.d.a", "a.da+1", "ad.a+2", "a.d.a+3"]
    emails = [f"{name}@{domain}" for name in spellings for domain in ("gmail.com", "googlemail.com")]

    assert await statuses(client, *emails) == [201] * 5 + [429] * 7
    assert await statuses(client, "ada@gmail.com", emails[0]) == [201, 409]


async def test_other_mailboxes_have_room(client: httpx.AsyncClient) -> None:
    await statuses(client, *tags(1, 5))

    others = ["ada+1@example.org", "grace+1@example.com", "grace@example.com", "+ada@example.com"]
    assert await statuses(client, *others) == [201] * 4


async def test_the_address_without_a_tag_counts_and_is_never_refused(client: httpx.AsyncClient) -> None:
    assert await statuses(client, "grace@example.com", *(f"grace+{n}@example.com" for n in range(5))) == [
        *[201] * 5,
        429,
    ]
    assert await statuses(client, *tags(1, 5), "ada@example.com", "ada+6@example.com") == [*[201] * 6, 429]


async def test_there_is_room_again_after_an_hour(client: httpx.AsyncClient, database: Database) -> None:
    assert await statuses(client, *tags(1, 6)) == [*[201] * 5, 429]

    await grow_old(database)

    assert await statuses(client, *tags(6, 11)) == [*[201] * 5, 429]


async def test_who_is_known_in_a_full_mailbox_is_told_so(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "4f1c"}
    first = await client.post("/signup", json={"email": "ada+1@example.com"}, headers=key)
    await statuses(client, *tags(2, 5))

    again = await client.post("/signup", json={"email": "ada+1@example.com"}, headers=key)
    reused = await client.post("/signup", json={"email": "ada+6@example.com"}, headers=key)

    assert await statuses(client, "ada+5@example.com") == [409]
    assert (again.status_code, again.json()) == (201, first.json())
    assert (reused.status_code, reused.json()["type"]) == (422, "/problems/key-reused")


async def test_a_refused_key_can_be_used_again(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "4f1c"}
    await statuses(client, *tags(1, 5))
    refused = await client.post("/signup", json={"email": "ada+6@example.com"}, headers=key)

    answer = await client.post("/signup", json={"email": "grace@example.com"}, headers=key)

    assert (refused.status_code, answer.status_code) == (429, 201)


async def test_of_many_at_once_in_two_replicas_as_many_are_let_in(
    settings: Settings, database: Database
) -> None:
    async with running(settings) as one, running(settings) as two:
        answers = await asyncio.gather(
            *(live.client.post("/signup", json={"email": tag}) for tag in tags(1, 20) for live in (one, two))
        )

    created = [answer for answer in answers if answer.status_code == 201]
    assert len(created) == 5
    assert {answer.status_code for answer in answers} <= {201, 409, 429}
    assert len(await rows(database, "SELECT id FROM users")) == 5


async def test_users_of_before_the_count_are_known(client: httpx.AsyncClient, database: Database) -> None:
    await statuses(client, "ada+1@example.com")
    async with database.transaction() as connection:
        await connection.execute(USERS.update().values(untagged_email=None))

    assert await statuses(client, *tags(1, 6)) == [409, *[201] * 5]


async def test_it_can_be_turned_off(settings: Settings) -> None:
    async with running(settings.model_copy(update={"mailbox_rate_limit": None})) as live:
        assert await statuses(live.client, *tags(1, 8)) == [201] * 8
