import pytest
from httpx import ASGITransport, AsyncClient

from service.inbox.app import create_inbox
from service.inbox.store import MailStore

from .mails import catch


@pytest.mark.parametrize(
    ("headers", "deleted"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:8025"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Origin": "http://localhost:8025"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "http://localhost:8000"}, False),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
    ],
)
@pytest.mark.parametrize("action", ["DELETE /api/v1/messages", "POST /mails/delete"])
async def test_no_other_website_deletes_mails(
    browser: AsyncClient, store: MailStore, action: str, headers: dict[str, str], deleted: bool
) -> None:
    catch(store)

    answer = await browser.request(*action.split(), headers=headers)

    assert (answer.status_code == 403) is not deleted
    assert (len(store) == 0) is deleted


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8025", 200),
        ("localhost", 200),
        ("127.0.0.1:9000", 200),
        ("[::1]:8025", 200),
        ("LOCALHOST:8025", 200),
        ("mail.example.com:8025", 200),
        ("evil.example:8025", 400),
        ("localhost.evil.example", 400),
        ("192.0.2.1", 400),
        ("", 400),
    ],
)
async def test_it_answers_under_its_own_names_alone(store: MailStore, host: str, status: int) -> None:
    inbox = create_inbox(store, host="mail.example.com")

    async with AsyncClient(transport=ASGITransport(inbox), base_url="http://localhost") as browser:
        answer = await browser.get("/api/v2/messages", headers={"Host": host})

    assert answer.status_code == status


@pytest.mark.parametrize("path", ["/", "/api/v2/messages", "/mails/unknown", "/nowhere"])
async def test_no_other_website_reads_an_answer(browser: AsyncClient, path: str) -> None:
    headers = (await browser.get(path, headers={"Origin": "https://evil.example"})).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers
