import asyncio

import pytest

from service.inbox.store import Mailbox, SearchKind

from .mails import WELCOME, catch


def test_the_newest_mail_comes_first(mailbox: Mailbox) -> None:
    first, second, third = (catch(mailbox) for _ in range(3))

    assert mailbox.page(start=0, limit=2) == [third, second]
    assert mailbox.page(start=2, limit=2) == [first]


def test_the_oldest_mail_makes_room_when_there_are_too_many() -> None:
    mailbox = Mailbox(most_mails=2)

    first, second, third = (catch(mailbox) for _ in range(3))

    assert list(mailbox) == [third, second]
    assert mailbox.get(first.id) is None


def test_the_oldest_mails_make_room_when_they_are_too_large() -> None:
    mailbox = Mailbox(most_bytes=100)
    catch(mailbox, b"x" * 60)
    catch(mailbox, b"x" * 40)

    newest = catch(mailbox, b"x" * 90)

    assert list(mailbox) == [newest]


def test_deleted_mails_leave_their_room() -> None:
    mailbox = Mailbox(most_bytes=100)
    first = catch(mailbox, b"x" * 60)
    second = catch(mailbox, b"x" * 40)

    assert mailbox.delete(first.id)
    third = catch(mailbox, b"x" * 60)

    assert list(mailbox) == [third, second]


def test_a_mail_is_deleted_once(mailbox: Mailbox) -> None:
    mail = catch(mailbox)

    assert mailbox.delete(mail.id)
    assert not mailbox.delete(mail.id)


def test_clearing_leaves_nothing(mailbox: Mailbox) -> None:
    catch(mailbox)

    mailbox.clear()

    assert len(mailbox) == 0


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
    mailbox: Mailbox, kind: SearchKind, query: str, found: bool
) -> None:
    mail = catch(mailbox, WELCOME, recipients=("ada@example.com", "grace@example.com"))

    assert await mailbox.search(query, kind=kind) == ([mail] if found else [])


async def test_whoever_waits_for_a_change_learns_of_a_new_mail(mailbox: Mailbox) -> None:
    before = mailbox.version
    waiting = asyncio.create_task(mailbox.changed(since=before))
    await asyncio.sleep(0)
    assert not waiting.done()

    catch(mailbox)

    assert await waiting == mailbox.version != before


async def test_whoever_missed_a_change_does_not_wait(mailbox: Mailbox) -> None:
    before = mailbox.version
    mail = catch(mailbox)
    mailbox.delete(mail.id)

    assert await mailbox.changed(since=before) == mailbox.version


async def test_closing_lets_go_of_whoever_waits(mailbox: Mailbox) -> None:
    waiting = asyncio.create_task(mailbox.changed(since=mailbox.version))
    await asyncio.sleep(0)

    mailbox.close()

    assert await waiting == mailbox.version
    assert await mailbox.changed(since=mailbox.version) == mailbox.version
