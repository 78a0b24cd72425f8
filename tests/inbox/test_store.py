import asyncio

import pytest

from service.inbox.store import MailStore, SearchKind

from .mails import WELCOME, catch


def test_the_newest_mail_comes_first(store: MailStore) -> None:
    first, second, third = (catch(store) for _ in range(3))

    assert store.page(start=0, limit=2) == [third, second]
    assert store.page(start=2, limit=2) == [first]


def test_the_oldest_mail_makes_room_when_there_are_too_many() -> None:
    store = MailStore(max_mails=2)

    first, second, third = (catch(store) for _ in range(3))

    assert list(store) == [third, second]
    assert store.get(first.id) is None


def test_the_oldest_mails_make_room_when_they_are_too_large() -> None:
    store = MailStore(max_bytes=100)
    catch(store, b"x" * 60)
    catch(store, b"x" * 40)

    newest = catch(store, b"x" * 90)

    assert list(store) == [newest]


def test_deleted_mails_leave_their_room() -> None:
    store = MailStore(max_bytes=100)
    first = catch(store, b"x" * 60)
    second = catch(store, b"x" * 40)

    assert store.delete(first.id)
    third = catch(store, b"x" * 60)

    assert list(store) == [third, second]


def test_a_mail_is_deleted_once(store: MailStore) -> None:
    mail = catch(store)

    assert store.delete(mail.id)
    assert not store.delete(mail.id)


def test_clearing_leaves_nothing(store: MailStore) -> None:
    catch(store)

    store.clear()

    assert len(store) == 0


@pytest.mark.parametrize(
    ("kind", "query", "found"),
    [
        (SearchKind.FROM, "WELCOME@example", True),
        (SearchKind.FROM, "Welcome <", True),
        (SearchKind.FROM, "ada", False),
        (SearchKind.TO, "ada@example.com", True),
        (SearchKind.TO, "lovelace", True),
        (SearchKind.TO, "grace@example.com", True),
        (SearchKind.TO, "welcome", False),
        (SearchKind.CONTAINING, "Sch=C3=B6n", True),
        (SearchKind.CONTAINING, "schön: http", True),
        (SearchKind.CONTAINING, "dass du da bist", True),
        (SearchKind.CONTAINING, "farewell", False),
    ],
)
async def test_a_search_looks_where_it_is_told(
    store: MailStore, kind: SearchKind, query: str, found: bool
) -> None:
    mail = catch(store, WELCOME, recipients=("ada@example.com", "grace@example.com"))

    assert await store.search(query, kind=kind) == ([mail] if found else [])


async def test_whoever_waits_for_a_change_learns_of_a_new_mail(store: MailStore) -> None:
    before = store.version
    waiting = asyncio.create_task(store.wait_for_change(since=before))
    await asyncio.sleep(0)
    assert not waiting.done()

    catch(store)

    assert await waiting == store.version != before


async def test_whoever_missed_a_change_does_not_wait(store: MailStore) -> None:
    before = store.version
    mail = catch(store)
    store.delete(mail.id)

    assert await store.wait_for_change(since=before) == store.version


async def test_closing_lets_go_of_whoever_waits(store: MailStore) -> None:
    waiting = asyncio.create_task(store.wait_for_change(since=store.version))
    await asyncio.sleep(0)

    store.close()

    assert await waiting == store.version
    assert await store.wait_for_change(since=store.version) == store.version
