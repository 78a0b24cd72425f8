"""Whose word about the client's address is believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Scope

from service.settings import Settings
from service.web.client_address import ClientAddresses

PROXY = "10.0.0.1"


@pytest.fixture(scope="module")
def clients() -> ClientAddresses:
    return ClientAddresses(Settings(trusted_proxies="10.0.0.0/8, 2001:db8:ffff::/48").trusted_proxies)


def request(peer: str | None, *forwarded_for: str) -> Scope:
    return {
        "type": "http",
        "client": peer and (peer, 1234),
        "headers": [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded_for],
    }


def address(clients: ClientAddresses, peer: str | None, *forwarded_for: str) -> str | None:
    found = clients.find(request(peer, *forwarded_for))
    return str(found.address) if found else None


@pytest.mark.parametrize(
    ("peer", "seen"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:0DB8::0001", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        (PROXY, PROXY),
        ("testclient", None),
        ("", None),
        (None, None),
    ],
)
def test_without_a_header_it_is_the_peer(
    clients: ClientAddresses, peer: str | None, seen: str | None
) -> None:
    assert address(clients, peer) == seen


@pytest.mark.parametrize("peer", ["192.0.2.1", "::ffff:192.0.2.1", "11.0.0.1"])
def test_a_stranger_is_not_believed(clients: ClientAddresses, peer: str) -> None:
    assert address(clients, peer, "6.6.6.6") == address(clients, peer)


def test_nobody_is_believed_by_default() -> None:
    assert address(ClientAddresses(Settings().trusted_proxies), "127.0.0.1", "6.6.6.6") == "127.0.0.1"


@pytest.mark.parametrize(
    ("forwarded_for", "seen"),
    [
        (["192.0.2.1"], "192.0.2.1"),
        (["  192.0.2.1  "], "192.0.2.1"),
        (["2001:db8::1"], "2001:db8::1"),
        (["2001:db8::%" + "x" * 34], "2001:db8::"),
        (["fe80::1%eth0"], "fe80::1"),
        (["::ffff:192.0.2.1"], "192.0.2.1"),
        (["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
        (["6.6.6.6", "192.0.2.1"], "192.0.2.1"),
        (["6.6.6.6,, 192.0.2.1,"], "192.0.2.1"),
        (["192.0.2.1, 10.0.0.2, 10.0.0.3"], "192.0.2.1"),
        (["192.0.2.1, 10.0.0.2", "2001:db8:ffff::1"], "192.0.2.1"),
        (["192.0.2.1, ::ffff:10.0.0.2"], "192.0.2.1"),
        (["6.6.6.6, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
        (["10.0.0.2, 10.0.0.3"], "10.0.0.2"),
        (["192.0.2.7:51234"], "192.0.2.7"),
        (["[2001:db8::7]"], "2001:db8::7"),
        (["[2001:db8::7]:443"], "2001:db8::7"),
        (["[::ffff:192.0.2.7]:443"], "192.0.2.7"),
        (["6.6.6.6, 192.0.2.7:51234, 10.0.0.2:80"], "192.0.2.7"),
    ],
)
def test_a_proxy_is_believed_as_far_as_the_first_stranger(
    clients: ClientAddresses, forwarded_for: list[str], seen: str
) -> None:
    assert address(clients, PROXY, *forwarded_for) == seen


@pytest.mark.parametrize(
    ("forwarded_for", "seen"),
    [
        ("a" * 3000, PROXY),
        ("1" * 3000, PROXY),
        ("1.1.1.1" + " " * 3000 + "x", PROXY),
        ("unknown", PROXY),
        ("192.0.2.1:", PROXY),
        ("192.0.2.1:http", PROXY),
        ("192.0.2.1:123456", PROXY),
        ("192.0.2.256:80", PROXY),
        ("[2001:db8::7", PROXY),
        ("[2001:db8::7]443", PROXY),
        ("[unknown]:443", PROXY),
        ("192.0.2.256", PROXY),
        ("0x7f.1", PROXY),
        ("192.0.2.0/24", PROXY),
        ("<script>", PROXY),
        ("\xff\xfe", PROXY),
        ("", PROXY),
        (" , ,", PROXY),
        ("6.6.6.6, garbage", PROXY),
        ("6.6.6.6, garbage, 10.0.0.2", "10.0.0.2"),
    ],
)
def test_what_is_no_address_ends_the_trail(clients: ClientAddresses, forwarded_for: str, seen: str) -> None:
    assert address(clients, PROXY, forwarded_for) == seen


def test_what_cannot_be_read_leaves_one_line_a_minute_without_what_was_sent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clients = ClientAddresses(Settings(trusted_proxies="10.0.0.0/8").trusted_proxies)
    for moment in (1000.0, 1001.0, 1059.0, 1061.0):
        monkeypatch.setattr("service.runtime.once_per_minute.time.monotonic", lambda: moment)  # noqa: B023  # called in the same round
        address(clients, PROXY, "ada@example.com")
        address(clients, PROXY, "192.0.2.7:51234")

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "forwarded_for.unreadable" in lines[0]
    assert PROXY in lines[0]
    assert "example.com" not in lines[0]


@pytest.mark.parametrize(
    ("peer", "kept"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("testclient", None),
        (None, None),
    ],
)
def test_the_audit_keeps_a_network(clients: ClientAddresses, peer: str | None, kept: str | None) -> None:
    assert clients.audit_network(request(peer)) == kept


@given(
    header=st.text(st.characters(max_codepoint=255), max_size=60)
    | st.text("0123456789abcdef.:,% ", max_size=60)
)
def test_any_header_is_answered_with_an_address(header: str, clients: ClientAddresses) -> None:
    assert address(clients, PROXY, header)
    assert address(clients, "192.0.2.1", header) == "192.0.2.1"
