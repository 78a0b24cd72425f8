import pytest
from httpx import AsyncClient

from service.inbox.store import MailStore

from .mails import WELCOME, catch


async def test_a_mail_has_the_shape_that_mailhogs_clients_know(
    browser: AsyncClient, store: MailStore
) -> None:
    mail = catch(store, b"Subject: Hi\r\nX-Long: one\r\n two\r\n\r\nHello\r\n")

    message = (await browser.get(f"/api/v1/messages/{mail.id}")).json()

    trace = message["Content"]["Headers"].pop("Received")
    created = mail.received_at.isoformat().removesuffix("+00:00") + "Z"
    assert message == {
        "ID": mail.id,
        "From": {"Relays": None, "Mailbox": "welcome", "Domain": "example.com", "Params": ""},
        "To": [{"Relays": None, "Mailbox": "ada", "Domain": "example.com", "Params": ""}],
        "Content": {
            "Headers": {
                "Subject": ["Hi"],
                "X-Long": ["one two"],
                "Message-ID": [mail.id],
                "Return-Path": ["<welcome@example.com>"],
            },
            "Body": "Hello",
            "Size": 39,
            "MIME": None,
        },
        "Created": created,
        "MIME": None,
        "Raw": {
            "From": "welcome@example.com",
            "To": ["ada@example.com"],
            "Data": "Subject: Hi\r\nX-Long: one\r\n two\r\n\r\nHello",
            "Helo": "localhost",
        },
    }
    assert len(trace) == 1
    assert trace[0].startswith("from localhost by inbox.localhost")


async def test_parts_are_cut_but_not_decoded(browser: AsyncClient, store: MailStore) -> None:
    mail = catch(store, WELCOME)

    message = (await browser.get(f"/api/v1/messages/{mail.id}")).json()

    text, html, end = message["MIME"]["Parts"]
    assert text == {
        "Headers": {
            "Content-Type": ["text/plain; charset=utf-8"],
            "Content-Transfer-Encoding": ["quoted-printable"],
        },
        "Body": "Sch=C3=B6n: http://localhost:8000/welcome",
        "Size": 129,
        "MIME": None,
    }
    assert html["Body"] == "<p>Schön</p>"
    assert end["Body"] == "--"


async def test_parts_within_parts_are_theirs(browser: AsyncClient, store: MailStore) -> None:
    catch(store, b"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n" + WELCOME + b"--o--\r\n")

    [message] = (await browser.get("/api/v1/messages")).json()

    inner = message["MIME"]["Parts"][0]["MIME"]["Parts"]
    assert inner[1]["Body"] == "<p>Schön</p>"


async def test_trace_headers_are_added_to_those_that_came(browser: AsyncClient, store: MailStore) -> None:
    catch(store, b"received: from afar\r\nMessage-Id: <1@example.com>\r\n\r\n")

    [message] = (await browser.get("/api/v1/messages")).json()

    headers = message["Content"]["Headers"]
    assert headers["received"][0] == "from afar"
    assert len(headers["received"]) == 2
    assert headers["Message-Id"] == ["<1@example.com>"]
    assert "Message-ID" not in headers


@pytest.mark.parametrize(
    ("query", "start", "subjects"),
    [
        ("", 0, ["3", "2", "1"]),
        ("?limit=2", 0, ["3", "2"]),
        ("?start=1&limit=1", 1, ["2"]),
        ("?start=9", 9, []),
        ("?start=-1&limit=0", 0, ["3", "2", "1"]),
        ("?start=x&limit=y", 0, ["3", "2", "1"]),
        (f"?start={'9' * 5000}", 0, ["3", "2", "1"]),
    ],
)
async def test_a_page_has_its_window_and_the_total(
    browser: AsyncClient, store: MailStore, query: str, start: int, subjects: list[str]
) -> None:
    for subject in "123":
        catch(store, subject=subject)

    page = (await browser.get(f"/api/v2/messages{query}")).json()

    assert (page["total"], page["count"], page["start"]) == (3, len(subjects), start)
    assert [item["Content"]["Headers"]["Subject"][0] for item in page["items"]] == subjects


async def test_a_page_has_fifty_mails_and_never_more_than_250(browser: AsyncClient, store: MailStore) -> None:
    for _ in range(260):
        catch(store, subject="Hi")

    assert (await browser.get("/api/v2/messages")).json()["count"] == 50
    assert (await browser.get("/api/v2/messages?limit=1000")).json()["count"] == 250
    assert len((await browser.get("/api/v1/messages")).json()) == 260


async def test_a_search_is_a_page_of_what_it_finds(browser: AsyncClient, store: MailStore) -> None:
    catch(store, subject="Welcome", recipients=("grace@example.com",))
    for _ in range(3):
        catch(store, subject="Welcome")

    page = (await browser.get("/api/v2/search?kind=to&query=ada@&start=1&limit=1")).json()

    assert (page["total"], page["count"], page["start"]) == (3, 1, 1)


@pytest.mark.parametrize("query", ["", "?kind=to", "?query=ada", "?kind=cc&query=ada"])
async def test_a_search_for_nothing_known_is_refused(browser: AsyncClient, query: str) -> None:
    assert (await browser.get(f"/api/v2/search{query}")).status_code == 400


async def test_a_download_is_the_mail_as_it_came(browser: AsyncClient, store: MailStore) -> None:
    mail = catch(store, WELCOME)

    answer = await browser.get(f"/api/v1/messages/{mail.id}/download")

    assert answer.content == WELCOME
    assert answer.headers["content-type"] == "message/rfc822"
    assert answer.headers["content-disposition"] == f'attachment; filename="{mail.id}.eml"'


async def test_one_mail_is_deleted(browser: AsyncClient, store: MailStore) -> None:
    kept, deleted = catch(store), catch(store)

    assert (await browser.delete(f"/api/v1/messages/{deleted.id}")).status_code == 200

    assert list(store) == [kept]


async def test_all_mails_are_deleted(browser: AsyncClient, store: MailStore) -> None:
    catch(store)

    assert (await browser.delete("/api/v1/messages")).status_code == 200

    assert (await browser.get("/api/v2/messages")).json()["items"] == []


@pytest.mark.parametrize(("method", "part"), [("GET", ""), ("GET", "/download"), ("DELETE", "")])
async def test_an_unknown_mail_is_none(browser: AsyncClient, method: str, part: str) -> None:
    answer = await browser.request(method, f"/api/v1/messages/unknown{part}")

    assert (answer.status_code, answer.json()) == (404, None)


async def test_a_mail_is_never_sent_on(browser: AsyncClient, store: MailStore) -> None:
    mail = catch(store)

    answer = await browser.post(f"/api/v1/messages/{mail.id}/release", json={"email": "grace@example.com"})

    assert (answer.status_code, answer.text) == (501, "No mail leaves here.")
