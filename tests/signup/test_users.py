"""Users are looked at page by page, and forgotten by any spelling of their address."""

import pytest

from service.database.engine import Database
from service.database.json_rows import encode_rows
from service.database.models import USERS
from service.outbox.repository import Outbox
from service.outbox.row import Deferred, Failed, NewEmail, Outcome, Sent
from service.outbox.sql import enqueue_statement
from service.signup import users as module
from service.signup.users import Users
from tests.support.database import rows
from tests.support.users import numbered, store


@pytest.fixture
def users(database: Database) -> Users:
    return Users(database)


async def test_the_newest_come_first(users: Users, database: Database) -> None:
    await store(database, *numbered(4))

    newest = await users.find_newest(2)

    assert [user["email"] for user in newest] == ["user3@example.com", "user2@example.com"]
    assert list(newest[0]) == [
        *("id", "email", "name", "created_at"),
        *("confirmation_asked_at", "confirmed_at"),
    ]


@pytest.mark.parametrize("count", [0, 1, 3, 6, 10])
async def test_all_come_page_by_page_the_oldest_first(
    users: Users, database: Database, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(module, "PAGE_SIZE", 3)
    if count:
        await store(database, *numbered(count))

    pages = [page async for page in users.pages()]

    assert [len(page) for page in pages] == [3] * (count // 3) + [count % 3] * bool(count % 3)
    assert [user["email"] for page in pages for user in page] == [email for email, _ in numbered(count)]
    assert await users.count() == count


async def test_who_is_erased_between_two_pages_is_missed_by_nobody(
    users: Users, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE_SIZE", 2)
    await store(database, *numbered(5))
    pages = users.pages()
    await anext(pages)

    await users.erase("user1@example.com")

    rest = [user["email"] async for page in pages for user in page]
    assert rest == ["user2@example.com", "user3@example.com", "user4@example.com"]


@pytest.mark.parametrize(
    ("stored", "given"),
    [
        ("ada@example.com", "ada@example.com"),
        ("Ada@Example.com", " aDA@example.COM "),
        ("ada@münchen.de", "ada@xn--mnchen-3ya.de"),
        ("ada@xn--mnchen-3ya.de", "Ada@MÜNCHEN.de"),
    ],
)
async def test_any_spelling_of_the_address_erases(
    users: Users, database: Database, stored: str, given: str
) -> None:
    [ada, _] = await store(database, (stored, "Ada"), ("grace@example.com", "Grace"))

    assert await users.erase(given) == ada

    assert [user["email"] for user in await users.find_newest(9)] == ["grace@example.com"]
    assert await users.erase(given) is None


@pytest.mark.parametrize(
    "given", ["", "ada", "ada@", "ada+tag@example.com", "ada@example.org", "%@example.com"]
)
async def test_another_address_erases_nobody(users: Users, database: Database, given: str) -> None:
    await store(database, ("ada@example.com", "Ada"))

    assert await users.erase(given) is None
    assert await users.count() == 1


async def test_an_address_that_only_an_older_release_took_can_be_erased(
    users: Users, database: Database
) -> None:
    await store(database, ("ada@example.com", "Ada"))
    async with database.transaction() as connection:
        await connection.exec_driver_sql("UPDATE users SET canonical_email = 'ada@old.internal'")

    assert await users.erase("Ada@old.internal")


@pytest.mark.parametrize("outcome", [Sent("250 ok"), Failed("550 no"), Deferred("451 later")])
async def test_the_outcome_of_an_email_that_was_being_sent_meanwhile_brings_nothing_back(
    users: Users, database: Database, outbox: Outbox, outcome: Outcome
) -> None:
    [ada] = await store(database, ("ada@example.com", "Ada"))
    waiting = NewEmail(user_id=ada, recipient="ada@example.com", name="Ada", request_id="r", claimed=True)
    async with database.transaction() as connection:
        await connection.execute(enqueue_statement(database, USERS), {"emails": encode_rows([waiting.row()])})
    email = waiting.to_claimed()
    assert email

    await users.erase("ada@example.com")
    await outbox.record(email, outcome)

    assert await rows(database, "SELECT * FROM outbox") == []
    assert await rows(database, "SELECT * FROM users") == []
