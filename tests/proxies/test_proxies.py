"""The service behind nginx, HAProxy and Caddy, as the examples configure them."""

import socket
import time
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.proxies.site import ORIGIN, PROXIES, Site, started
from tests.support.http import Answer, Connection
from tests.support.page import Page

pytestmark = pytest.mark.long  # they need the proxies; `make proxies` runs them

numbers = count()


def fresh() -> str:
    return f"user{next(numbers)}@example.com"


def test_a_signup_and_its_state(site: Site) -> None:
    with httpx.Client(timeout=30) as client:
        answer = client.post(f"{site.url}/signup", json={"email": fresh()})

        assert answer.status_code == 201
        assert answer.headers["Location"] == f"/join/signup/{answer.json()['id']}"
        assert client.get(answer.request.url.join(answer.headers["Location"])).status_code == 200


def test_a_form_leads_from_page_to_page(site: Site) -> None:
    with httpx.Client(headers={"Accept": "text/html"}, timeout=30) as browser:
        page = browser.get(f"{site.url}/")
        form = Page(page.text).one("form")
        hidden = {
            field["name"] or "": field["value"] for field in Page(page.text).all("input", type="hidden")
        }
        action = page.url.join(form["action"] or "")
        origin = f"http://{action.netloc.decode()}"

        welcome = browser.post(
            action, data={**hidden, "email": fresh(), "name": "", "website": ""}, headers={"Origin": origin}
        )

        assert welcome.status_code == 303, welcome.text
        assert welcome.headers["Location"].startswith("/join/welcome/")
        assert browser.get(action.join(welcome.headers["Location"])).status_code == 200


def test_the_documentation_names_its_own_files(site: Site) -> None:
    page = httpx.get(f"{site.url}/docs")

    assert page.status_code == 200
    assert '"/openapi.json"' not in page.text
    assert httpx.get(f"{site.url}/openapi.json").json()["servers"] == [{"url": "/join"}]


@pytest.mark.parametrize("size", [20_000, 3_000_000])
def test_a_body_that_is_too_large_is_refused_as_a_frontend_can_read_it(site: Site, size: int) -> None:
    answer = httpx.post(
        f"{site.url}/signup",
        content=b"x" * size,
        headers={"Origin": ORIGIN, "Content-Type": "application/json"},
        timeout=30,
    )

    is_problem(answer, 413, "/problems/too-large")


def test_a_body_that_takes_too_long_is_refused_as_a_frontend_can_read_it(site: Site) -> None:
    if site.proxy == "varnish":
        pytest.skip("Varnish answers 503 by itself when the service refuses a body before its end")
    with Connection(socket.create_connection(("127.0.0.1", site.port), timeout=20)) as connection:
        head = (
            "POST /join/signup HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Origin: {ORIGIN}\r\nContent-Length: 100\r\n\r\n"
        )
        connection.send(head.encode(), b'{"email": ')

        answer = connection.read()

    assert answer.status == 408
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.json["type"] == "/problems/timeout"


def test_a_preflight_is_answered(site: Site) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}

    assert httpx.options(f"{site.url}/signup", headers=asked).status_code == 200


@pytest.mark.parametrize("path", ["metrics", "readyz"])
def test_what_operators_ask_is_not_for_everybody(site: Site, path: str) -> None:
    assert httpx.get(f"{site.url}/{path}").status_code == 404


def test_connections_are_used_again(site: Site) -> None:
    with httpx.Client(timeout=30) as client:
        for _ in range(50):
            assert client.get(f"{site.url}/healthz").status_code == 200


def test_the_proxys_check_finds_the_service_well(site: Site) -> None:
    time.sleep(3)  # HAProxy asks every two

    assert httpx.get(f"{site.url}/healthz").status_code == 200


def test_what_a_page_asks_for_again_is_never_an_old_answer(site: Site) -> None:
    with httpx.Client(timeout=30) as client:
        answer = client.post(f"{site.url}/signup", json={"email": fresh()})
        state = answer.request.url.join(answer.headers["Location"])

        assert len({client.get(state).headers["X-Request-ID"] for _ in range(3)}) == 3


FORWARDING = {
    "nginx": [("", ""), ("For $remote_addr", "For $remote_addr:$remote_port")],
    "haproxy": [("", ""), ("%[src]", "%[src]:%[src_port]")],
    "varnish": [
        ("", ""),
        ("= client.ip", '= client.ip + ":51234"'),
    ],
    "caddy": [
        ("", ""),
        (
            "reverse_proxy 127.0.0.1",
            "reverse_proxy {\n\t\theader_up X-Forwarded-For {remote}\n\t\tto 127.0.0.1",
        ),
    ],
}


@pytest.mark.parametrize(
    ("proxy", "replace"), [(proxy, replace) for proxy in PROXIES for replace in FORWARDING[proxy]]
)
def test_each_client_has_its_own_limit_whatever_it_says_of_itself(
    proxy: str, replace: tuple[str, str], migrated_file: Path, tmp_path: Path
) -> None:
    with started(
        proxy, migrated_file=migrated_file, folder=tmp_path, replace=replace, SIGNUP_RATE_LIMIT="2/day"
    ) as site:
        asked = [("127.0.0.2", f"192.0.2.{number}") for number in range(4)] + [("127.0.0.3", "192.0.2.9")]

        answers = [ask(site, source, forwarded) for source, forwarded in asked]

        assert [answer.status for answer in answers] == [201, 201, 429, 429, 201]
        assert "forwarded_for" not in site.log


def ask(site: Site, source: str, forwarded: str) -> Answer:
    body = f'{{"email": "{fresh()}"}}'
    head = (
        f"POST /join/signup HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {forwarded}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with Connection(
        socket.create_connection(("127.0.0.1", site.port), timeout=15, source_address=(source, 0))
    ) as connection:
        connection.send((head + body).encode())
        return connection.read()


def is_problem(answer: httpx.Response, status: int, kind: str) -> None:
    assert (answer.status_code, answer.json()["type"]) == (status, kind)
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert urlsplit(answer.json()["instance"]).scheme == "urn"
