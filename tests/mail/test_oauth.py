"""XOAUTH2: a relay that takes no password, and a token endpoint that may be away, slow, or lie."""

import asyncio
import base64
import json
import logging
import re
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr

from service.cli import check
from service.cli.common import CommandFailed
from service.mail import oauth
from service.mail.relay import Relay
from service.outbox.channel import ChannelTrouble
from service.settings import Security, Settings, SmtpAuth
from tests.support.app import running
from tests.support.eventually import eventually
from tests.support.forks import ROOT
from tests.support.mail import MESSAGE
from tests.support.ports import free_port
from tests.support.relay import Envelope, ScriptedRelay
from tests.support.token_endpoint import HANG, TokenEndpoint

BEFORE_TLS = "250-relay\r\n250 STARTTLS"
AFTER_TLS = "250-relay\r\n250 AUTH XOAUTH2"
SECRETS = ("swordfish", "herring", "token-")
REVOKED = "535 5.7.3 Authentication unsuccessful"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of whoever runs the tests."""
    for name in ("HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """Of a server named localhost."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    return tls


@pytest.fixture
async def relay(tls: ssl.SSLContext) -> AsyncIterator[ScriptedRelay]:
    """Offers only XOAUTH2, and only over STARTTLS."""

    encrypted = set()  # of the tasks that serve a connection each

    def start_tls(_: Envelope) -> str:
        encrypted.add(asyncio.current_task())
        return "220 go on"

    def offer(_: Envelope) -> str:
        return AFTER_TLS if asyncio.current_task() in encrypted else BEFORE_TLS

    relay = ScriptedRelay(answers={"ehlo": offer, "starttls": start_tls}, tls=tls, starttls=True)
    await relay.start()
    yield relay
    await relay.stop()


@pytest.fixture
async def endpoint() -> AsyncIterator[TokenEndpoint]:
    endpoint = await TokenEndpoint.started()
    yield endpoint
    await endpoint.stop()


@pytest.fixture
def settings(relay: ScriptedRelay, endpoint: TokenEndpoint) -> Settings:
    return Settings(
        smtp_host="localhost",
        smtp_port=relay.port,
        smtp_security=Security.STARTTLS,
        smtp_username="welcome@example.com",
        smtp_auth=SmtpAuth.XOAUTH2,
        smtp_oauth_token_url=endpoint.url,
        smtp_oauth_client_id="engine",
        smtp_oauth_client_secret="swordfish",
        smtp_oauth_scope="https://outlook.example/.default",
        mail_from="welcome@example.com",
    )


@pytest.fixture
async def connections(settings: Settings) -> AsyncIterator[Relay]:
    connections = Relay(settings)
    yield connections
    await connections.close()


def logins(relay: ScriptedRelay) -> list[str]:
    """What stands in each AUTH command."""
    prefix = "AUTH XOAUTH2 "
    return [
        base64.b64decode(command.removeprefix(prefix)).decode()
        for command in relay.commands
        if command.startswith(prefix)
    ]


def login(token: str) -> str:
    return f"user=welcome@example.com\x01auth=Bearer {token}\x01\x01"


def refuse_logins(relay: ScriptedRelay, *replies: str) -> None:
    """The first ones get these replies, and all others the last of them."""
    following: Iterator[str] = iter(replies)
    relay.answers["auth"] = lambda _: next(following, replies[-1])


def refuse_token(relay: ScriptedRelay, token: str) -> None:
    relay.answers["auth"] = lambda _: REVOKED if logins(relay)[-1] == login(token) else "235 welcome"


async def trouble(settings: Settings, **changes: object) -> str:
    """What `send-test` says."""
    with pytest.raises(CommandFailed) as caught:
        await check.send_one("ada@example.com", settings.model_copy(update=changes))
    return str(caught.value)


async def test_an_app_logs_in_with_its_own_credentials(
    connections: Relay, relay: ScriptedRelay, endpoint: TokenEndpoint
) -> None:
    await connections.send(MESSAGE)

    assert len(relay.accepted) == 1
    assert logins(relay) == [login("token-1")]
    assert endpoint.forms == [
        {
            "grant_type": "client_credentials",
            "client_id": "engine",
            "client_secret": "swordfish",
            "scope": "https://outlook.example/.default",
        }
    ]


async def test_an_app_logs_in_with_what_a_user_granted_it(
    settings: Settings, relay: ScriptedRelay, endpoint: TokenEndpoint
) -> None:
    granted = {"smtp_oauth_refresh_token": SecretStr("herring"), "smtp_oauth_scope": ""}
    connections = Relay(settings.model_copy(update=granted))

    await connections.send(MESSAGE)
    await connections.close()

    assert len(relay.accepted) == 1
    assert endpoint.forms == [
        {
            "grant_type": "refresh_token",
            "refresh_token": "herring",
            "client_id": "engine",
            "client_secret": "swordfish",
        }
    ]


async def test_many_connections_share_one_token(
    connections: Relay, relay: ScriptedRelay, endpoint: TokenEndpoint
) -> None:
    endpoint.delay = 0.1

    await asyncio.gather(*(connections.send(MESSAGE) for _ in range(8)))

    assert relay.stages["auth"] == 8
    assert set(logins(relay)) == {login("token-1")}
    assert len(endpoint.forms) == 1


async def test_many_connections_share_one_failure(connections: Relay, endpoint: TokenEndpoint) -> None:
    endpoint.delay = 0.1
    endpoint.refuse("invalid_client")

    results = await asyncio.gather(*(connections.send(MESSAGE) for _ in range(8)), return_exceptions=True)

    assert all(isinstance(result, ChannelTrouble) for result in results)
    assert len(endpoint.forms) == 1


@pytest.mark.parametrize(
    ("more", "kept_for"),
    [
        ({"expires_in": 3600}, 3540),
        ({"expires_in": "3600"}, 3540),
        ({"expires_in": 90}, 45),
        ({"expires_in": 20}, 10),
        ({}, 3540),
        ({"expires_in": None}, 3540),
        ({"expires_in": "soon"}, 3540),
        ({"expires_in": -5}, 3540),
        ({"expires_in": float("nan")}, 3540),
        ({"expires_in": float("inf")}, 3540),
        ({"expires_in": 10**400}, 3540),
        ({"expires_in": [60]}, 3540),
    ],
)
async def test_a_token_is_replaced_before_it_ends(
    settings: Settings,
    endpoint: TokenEndpoint,
    monkeypatch: pytest.MonkeyPatch,
    more: dict[str, object],
    kept_for: float,
) -> None:
    now = 1000.0
    monkeypatch.setattr(oauth, "monotonic", lambda: now)
    endpoint.more = more
    tokens = oauth.AccessTokens(settings)

    assert await tokens.get() == "token-1"
    now += kept_for - 1
    assert await tokens.get() == "token-1"
    now += 1
    assert await tokens.get() == "token-2"


async def test_a_token_that_ends_at_once_is_used_once(settings: Settings, endpoint: TokenEndpoint) -> None:
    endpoint.more = {"expires_in": 0}
    tokens = oauth.AccessTokens(settings)

    assert [await tokens.get(), await tokens.get()] == ["token-1", "token-2"]


async def test_a_revoked_token_is_replaced_at_once(
    connections: Relay, relay: ScriptedRelay, endpoint: TokenEndpoint
) -> None:
    refuse_logins(relay, REVOKED, "235 welcome")

    await connections.send(MESSAGE)

    assert len(relay.accepted) == 1
    assert logins(relay) == [login("token-1"), login("token-2")]
    assert len(endpoint.forms) == 2


async def test_many_connections_replace_a_revoked_token_once(
    connections: Relay, relay: ScriptedRelay, endpoint: TokenEndpoint
) -> None:
    refuse_token(relay, "token-1")

    await asyncio.gather(*(connections.send(MESSAGE) for _ in range(8)))

    assert len(relay.accepted) == 8
    assert len(endpoint.forms) == 2


async def test_a_late_refusal_of_the_old_token_leaves_the_new_one(
    settings: Settings, endpoint: TokenEndpoint
) -> None:
    tokens = oauth.AccessTokens(settings)
    old = await tokens.get()
    tokens.discard(old)
    new = await tokens.get()

    tokens.discard(old)

    assert await tokens.get() == new


async def test_a_refusal_in_two_steps_is_understood(connections: Relay, relay: ScriptedRelay) -> None:
    """Google explains itself in a challenge, and refuses after an empty line."""
    refuse_logins(relay, "334 eyJzdGF0dXMiOiI0MDAifQ==", "235 welcome")
    relay.answers[""] = "535 5.7.8 not accepted"

    await connections.send(MESSAGE)

    assert logins(relay) == [login("token-1"), login("token-2")]


async def test_a_new_token_that_is_refused_too_is_the_relays_trouble(
    settings: Settings, connections: Relay, relay: ScriptedRelay, endpoint: TokenEndpoint
) -> None:
    refuse_logins(relay, REVOKED)

    with pytest.raises(ChannelTrouble) as caught:
        await connections.send(MESSAGE)

    assert caught.value.reason == REVOKED
    assert caught.value.pause >= 30
    assert len(endpoint.forms) == relay.stages["auth"] == 2
    assert re.search(r"access token: check that SMTP_USERNAME .* It said: \"535", await trouble(settings))


async def test_only_a_refused_token_is_thrown_away(
    connections: Relay, relay: ScriptedRelay, endpoint: TokenEndpoint
) -> None:
    refuse_logins(relay, "454 4.7.0 not now", "235 welcome")

    with pytest.raises(ChannelTrouble, match="454"):
        await connections.send(MESSAGE)
    await connections.send(MESSAGE)

    assert len(endpoint.forms) == 1


@pytest.mark.parametrize("status", [HANG, 503])
async def test_mail_goes_out_once_the_endpoint_is_back(
    connections: Relay,
    relay: ScriptedRelay,
    endpoint: TokenEndpoint,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    endpoint.status, endpoint.body = status, b"away"

    with monkeypatch.context() as patch:
        patch.setattr(oauth, "TIMEOUT", 0.3)
        with pytest.raises(ChannelTrouble, match=re.escape(endpoint.url)):
            await connections.send(MESSAGE)
    assert relay.stages["greeting"] == 0
    endpoint.status, endpoint.body = 200, None
    await connections.send(MESSAGE)

    assert len(relay.accepted) == 1


async def test_a_signup_waits_until_the_endpoint_is_back(
    settings: Settings, database_url: str, tmp_path: Path, relay: ScriptedRelay, endpoint: TokenEndpoint
) -> None:
    endpoint.status, endpoint.body = 503, b"away"
    storing = {"database_url": SecretStr(database_url), "data_dir": tmp_path}

    async with running(settings.model_copy(update=storing)) as live:
        signup = await live.client.post("/signup", json={"email": "ada@example.com"})
        await eventually(lambda: endpoint.forms)
        endpoint.status, endpoint.body = 200, None
        await eventually(lambda: relay.accepted)

    assert signup.status_code == 201
    assert relay.recipients == {"ada@example.com": 1}


def test_whoever_logs_in_with_a_password_does_not_load_an_http_client() -> None:
    program = (
        "import sys; from service.mail.relay import Relay; from service.settings import Settings; "
        "Relay(Settings(_env_file=None)); print('aiohttp' in sys.modules)"
    )

    shown = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )

    assert shown.stdout == "False\n"


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"<html>Log in</html>", "status 200 and no access token.*SMTP_OAUTH_TOKEN_URL"),
        (200, b"[" * 100_000, "status 200 and no access token.*SMTP_OAUTH_TOKEN_URL"),
        (200, b"\xff", "status 200 and no access token.*SMTP_OAUTH_TOKEN_URL"),
        (200, b"[]", "status 200 and no access token.*SMTP_OAUTH_TOKEN_URL"),
        (200, b"{}", "status 200 and no access token.*SMTP_OAUTH_TOKEN_URL"),
        (200, b'{"access_token": 1}', "status 200 and no access token.*SMTP_OAUTH_TOKEN_URL"),
        (200, b'{"access_token": ""}', "status 200 and no access token.*SMTP_OAUTH_TOKEN_URL"),
        (200, b'{"access_token": "a\\u0001b"}', "status 200 and no access token.*SMTP_OAUTH_TOKEN_URL"),
        (302, b"", "status 302 and no access token.*SMTP_OAUTH_TOKEN_URL"),
        (404, b"not here", "status 404 and no access token.*SMTP_OAUTH_TOKEN_URL"),
        (500, b'{"access_token": "token-1"}', "status 500 and no access token.*SMTP_OAUTH_TOKEN_URL"),
        (400, b'{"error": {"code": 1}}', "status 400 and no access token.*SMTP_OAUTH_TOKEN_URL"),
    ],
)
async def test_an_endpoint_that_gives_no_token_is_named(
    settings: Settings, relay: ScriptedRelay, endpoint: TokenEndpoint, status: int, body: bytes, said: str
) -> None:
    endpoint.status, endpoint.body = status, body

    assert re.search(said, await trouble(settings))
    assert relay.stages["greeting"] == 0


@pytest.mark.parametrize(
    ("error", "variable"),
    [
        ("invalid_client", "check SMTP_OAUTH_CLIENT_ID and SMTP_OAUTH_CLIENT_SECRET"),
        ("unauthorized_client", "check SMTP_OAUTH_CLIENT_ID,"),
        ("invalid_grant", "check SMTP_OAUTH_REFRESH_TOKEN"),
        ("unsupported_grant_type", "set SMTP_OAUTH_REFRESH_TOKEN"),
        ("invalid_scope", "check SMTP_OAUTH_SCOPE"),
        ("invalid_resource", "check SMTP_OAUTH_SCOPE"),
        ("temporarily_unavailable", "try again later"),
        ("invalid_request", "check SMTP_OAUTH_TOKEN_URL and SMTP_OAUTH_SCOPE"),
    ],
)
async def test_the_variable_that_is_wrong_is_named(
    settings: Settings, endpoint: TokenEndpoint, error: str, variable: str
) -> None:
    endpoint.refuse(error, "AADSTS1: no\r\nTrace ID: 1")

    said = await trouble(settings)

    assert f"{endpoint.url} refused: {error}: AADSTS1: no  Trace ID: 1" in said
    assert variable in said


async def test_wrong_credentials_are_tried_seldom(connections: Relay, endpoint: TokenEndpoint) -> None:
    endpoint.refuse("invalid_client")

    with pytest.raises(ChannelTrouble) as caught:
        await connections.send(MESSAGE)

    assert caught.value.pause >= 30


async def test_an_endpoint_that_is_away_is_named(settings: Settings) -> None:
    said = await trouble(settings, smtp_oauth_token_url=f"http://127.0.0.1:{free_port()}/token")

    assert "/token cannot be used" in said
    assert "check SMTP_OAUTH_TOKEN_URL, and this machine's network" in said


async def test_an_endpoint_must_prove_who_it_is(settings: Settings, tls: ssl.SSLContext) -> None:
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(stranger)
    known, unknown = await TokenEndpoint.started(tls), await TokenEndpoint.started(stranger)

    def url_of(endpoint: TokenEndpoint) -> dict[str, object]:
        return {"smtp_oauth_token_url": f"https://localhost:{endpoint.port}/token"}

    assert await oauth.AccessTokens(settings.model_copy(update=url_of(known))).get() == "token-1"
    assert "set SSL_CERT_FILE" in await trouble(settings, **url_of(unknown))
    assert unknown.forms == []
    await known.stop()
    await unknown.stop()


async def test_secrets_in_clear_go_through_no_proxy(
    settings: Settings, endpoint: TokenEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")

    assert await oauth.AccessTokens(settings).get() == "token-1"


async def test_a_proxy_that_cannot_be_used_is_the_relays_trouble(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "gopher://127.0.0.1")

    assert "cannot be used" in await trouble(settings, smtp_oauth_token_url="https://login.example.com/token")


async def test_a_relay_that_offers_no_xoauth2_is_named(settings: Settings, relay: ScriptedRelay) -> None:
    relay.answers["ehlo"] = "250-relay\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN"

    assert "does not offer XOAUTH2" in await trouble(settings)
    assert relay.stages["auth"] == 0


async def test_no_secret_is_shown(
    settings: Settings,
    relay: ScriptedRelay,
    endpoint: TokenEndpoint,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = settings.model_copy(update={"smtp_oauth_refresh_token": SecretStr("herring & chips")})
    said = [repr(settings), str(settings.model_dump())]

    refuse_logins(relay, REVOKED)
    said.append(await trouble(settings))
    endpoint.status = 400
    for error in ("invalid_client", "swordfish"):
        for description in ("swordfish herring & chips", "client_secret=swordfish&herring+%26+chips"):
            endpoint.body = json.dumps({"error": error, "error_description": description}).encode()
            said.append(await trouble(settings))

    everything = "\n".join([*said, caplog.text, *capsys.readouterr()])
    assert "invalid_client" in everything
    for secret in SECRETS:
        assert secret not in everything
