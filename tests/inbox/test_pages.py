import asyncio
import html
import re

import pytest
from httpx import ASGITransport, AsyncClient

from service.inbox.app import create_inbox
from service.inbox.store import MailStore

from .mails import WELCOME, catch

HOSTILE = "<script>alert(1)</script>"
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt;"


async def test_an_empty_inbox_says_so(browser: AsyncClient) -> None:
    assert "No mail yet" in (await browser.get("/")).text


async def test_the_list_links_to_every_mail(browser: AsyncClient, store: MailStore) -> None:
    mails = [catch(store) for _ in range(2)]

    page = (await browser.get("/")).text

    assert "<title>Inbox (2)</title>" in page
    assert page.count("Schön, dass du da bist") == 2
    for mail in mails:
        assert f'href="/mails/{mail.id}"' in page


async def test_older_mails_are_a_link_away(browser: AsyncClient, store: MailStore) -> None:
    for number in range(51):
        catch(store, subject=f"Mail {number}.")

    newest, oldest = (
        (await browser.get("/?query=Mail")).text,
        (await browser.get("/?start=50&query=Mail")).text,
    )

    assert 'href="/?kind=containing&amp;query=Mail&amp;start=50"' in newest
    assert "Mail 50." in newest
    assert "Mail 0." not in newest
    assert "Mail 0." in oldest
    assert 'href="/?kind=containing&amp;query=Mail&amp;start=0"' in oldest


async def test_the_list_can_be_searched(browser: AsyncClient, store: MailStore) -> None:
    catch(store, subject="For Ada")
    catch(store, subject="For Grace", recipients=("grace@example.com",))

    page = (await browser.get("/", params={"kind": "to", "query": "GRACE@"})).text

    assert "For Grace" in page
    assert "For Ada" not in page
    assert 'value="to" selected' in page


async def test_a_search_without_a_match_says_so(browser: AsyncClient, store: MailStore) -> None:
    catch(store)

    assert "No mail matches" in (await browser.get("/?query=farewell")).text


@pytest.mark.parametrize(
    ("view", "shown"),
    [
        ("", '<iframe sandbox="allow-popups '),
        ("?view=html", '<iframe sandbox="allow-popups '),
        ("?view=text", 'Schön: <a href="http://localhost:8000/welcome" rel="noopener noreferrer" target='),
        ("?view=headers", "=?utf-8?q?Sch=C3=B6n=2C_dass_du_da_bist?="),
        ("?view=source", "Sch=C3=B6n: http://localhost:8000/welcome"),
        ("?view=unknown", '<iframe sandbox="allow-popups '),
    ],
)
async def test_a_mail_has_its_views(browser: AsyncClient, store: MailStore, view: str, shown: str) -> None:
    mail = catch(store, WELCOME)

    page = (await browser.get(f"/mails/{mail.id}{view}")).text

    assert shown in page
    assert page.count('aria-current="page"') == 1


async def test_a_mail_without_html_has_no_such_view(browser: AsyncClient, store: MailStore) -> None:
    mail = catch(store, subject="Hi")

    page = (await browser.get(f"/mails/{mail.id}?view=html")).text

    assert "<iframe" not in page
    assert "Hello" in page
    assert (await browser.get(f"/mails/{mail.id}/html")).status_code == 404


@pytest.mark.parametrize("view", ["text", "headers", "source"])
async def test_nothing_in_a_mail_becomes_part_of_the_page(
    browser: AsyncClient, store: MailStore, view: str
) -> None:
    mail = catch(
        store,
        f"From: {HOSTILE}\r\nTo: {HOSTILE}\r\nSubject: {HOSTILE}\r\n\r\n{HOSTILE}\r\n".encode(),
        sender=HOSTILE,
        recipients=(HOSTILE,),
    )

    pages = [
        await browser.get("/", params={"query": HOSTILE}),
        await browser.get(f"/mails/{mail.id}?view={view}"),
    ]

    for page in pages:
        assert HOSTILE not in page.text
        assert ESCAPED in page.text


async def test_the_html_of_a_mail_is_served_where_it_can_do_nothing(
    browser: AsyncClient, store: MailStore
) -> None:
    mail = catch(store, f"Content-Type: text/html\r\n\r\n{HOSTILE}".encode())

    answer = await browser.get(f"/mails/{mail.id}/html")

    assert answer.text == f'<base target="_blank">{HOSTILE}'
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    sandbox, _, rest = policy.partition("; ")
    assert sandbox == "sandbox allow-popups allow-popups-to-escape-sandbox"
    assert rest == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


async def test_a_page_runs_its_own_script_alone(browser: AsyncClient) -> None:
    first, second = [await browser.get("/") for _ in range(2)]

    nonce = first.text.partition('<script nonce="')[2].partition('"')[0]
    assert f"script-src 'nonce-{nonce}';" in first.headers["content-security-policy"]
    assert nonce not in second.text


async def test_deleting_a_mail_leads_back_to_the_list(browser: AsyncClient, store: MailStore) -> None:
    kept, deleted = catch(store), catch(store)

    answer = await browser.post(f"/mails/{deleted.id}/delete")

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert list(store) == [kept]


async def test_deleting_all_mails_leads_back_to_the_list(browser: AsyncClient, store: MailStore) -> None:
    catch(store)

    answer = await browser.post("/mails/delete")

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert len(store) == 0


async def test_during_a_search_only_what_it_finds_is_deleted(browser: AsyncClient, store: MailStore) -> None:
    kept = catch(store, subject="Keep me")
    catch(store, subject="Farewell")
    page = (await browser.get("/?query=farewell")).text

    assert "Delete found" in page
    [action] = re.findall(r'action="(/mails/delete[^"]*)"', page)
    await browser.post(html.unescape(action))

    assert list(store) == [kept]


async def test_a_mail_is_unread_until_it_is_opened(browser: AsyncClient, store: MailStore) -> None:
    mail = catch(store)
    before = (await browser.get("/")).text

    await browser.get(f"/mails/{mail.id}")

    assert before.count('class="unread"') == 1
    assert "Unread:" in before
    assert 'class="unread"' not in (await browser.get("/")).text


async def test_a_mail_leads_to_the_next_newer_and_older_one(browser: AsyncClient, store: MailStore) -> None:
    oldest, middle, newest = (catch(store) for _ in range(3))

    links = [
        re.findall(r'<a href="/mails/([^"]+)" rel="(\w+)"', (await browser.get(f"/mails/{mail.id}")).text)
        for mail in (newest, middle, oldest)
    ]

    assert links == [
        [(middle.id, "next")],
        [(newest.id, "prev"), (oldest.id, "next")],
        [(middle.id, "prev")],
    ]


async def test_the_inbox_links_to_what_is_given(store: MailStore) -> None:
    links = {"Sign up": "http://127.0.0.1:8000/"}
    app = create_inbox(store, links=links)

    async with AsyncClient(transport=ASGITransport(app), base_url="http://127.0.0.1") as client:
        page = (await client.get("/")).text

    assert '<a href="http://127.0.0.1:8000/">Sign up</a>' in page


async def test_a_mail_that_is_gone_is_explained(browser: AsyncClient) -> None:
    answer = await browser.get("/mails/unknown")

    assert answer.status_code == 404
    assert "Back to the inbox" in answer.text


async def test_a_waiting_page_is_told_of_a_new_mail(browser: AsyncClient, store: MailStore) -> None:
    version = (await browser.get("/")).text.partition('data-version="')[2].partition('"')[0]
    waiting = asyncio.create_task(browser.get(f"/changed?since={version}"))
    await asyncio.sleep(0.01)
    assert not waiting.done()

    catch(store)

    assert (await waiting).text == str(store.version) != version


async def test_a_page_that_waits_in_vain_asks_again(
    browser: AsyncClient, store: MailStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.inbox.pages.POLL_TIMEOUT", 0.01)

    answer = await browser.get(f"/changed?since={store.version}")

    assert answer.text == str(store.version)
