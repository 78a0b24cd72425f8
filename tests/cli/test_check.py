"""`check` and `send-test`: each trouble with a relay is a sentence that says how to fix it."""

import asyncio
import os
import re
import socket
import ssl
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr

from service.cli import check
from service.cli.common import CommandFailed
from service.mail import relay as module
from service.settings import Security, Settings
from tests.support.commands import run
from tests.support.mail import OFFER
from tests.support.ports import free_port
from tests.support.relay import DROP, HANG, Answer, ScriptedRelay
from tests.support.terminal import run_on_terminal

WITH_PASSWORD: dict[str, object] = {"smtp_username": "ada", "smtp_password": SecretStr("swordfish")}


@pytest.fixture
def settings(relay: ScriptedRelay) -> Settings:
    return Settings(smtp_host="localhost", smtp_port=relay.port, mail_from="welcome@engines.example.com")


async def trouble(settings: Settings, **changes: object) -> str:
    """What `send-test` says."""
    with pytest.raises(CommandFailed) as caught:
        await check.send_one("ada@example.com", settings.model_copy(update=changes))
    return str(caught.value)


@pytest.mark.parametrize(
    ("answers", "changes", "words"),
    [
        ({"greeting": "554 go away"}, {}, 'refuses the connection.* It said: "554 go away"'),
        ({"greeting": DROP}, {}, "closes the connection: check that SMTP_SECURITY"),
        ({"greeting": HANG}, {}, "does not answer: check SMTP_HOST and SMTP_PORT.* try 2525"),
        (
            {"ehlo": "250-relay\r\n250 AUTH XOAUTH2"},
            WITH_PASSWORD,
            "Host and port are right: set SMTP_AUTH=xoauth2",
        ),
        ({"ehlo": OFFER, "auth": "535 5.7.8 no"}, WITH_PASSWORD, 'check both.* It said: "535 5.7.8 no"'),
        (
            {"ehlo": "250 relay"},
            WITH_PASSWORD,
            "does not accept a password on this connection: set SMTP_SECURITY",
        ),
        ({"mail": "530 5.7.0 Authentication required"}, {}, "set SMTP_USERNAME and SMTP_PASSWORD"),
        ({"mail": "530 Must issue a STARTTLS command first"}, {}, "set SMTP_SECURITY=starttls"),
        ({"mail": "553 not yours"}, {}, 'as welcome@engines.example.com: set MAIL_FROM.* "553 not yours"'),
        ({"rcpt": "550 no such user"}, {}, 'for this address: check it.* "550 no such user"'),
        ({"rcpt": "451 later"}, {}, 'for this address: check it.* "451 later"'),
        ({"rcpt": "554 5.7.1 relay denied"}, {}, "set SMTP_USERNAME and SMTP_PASSWORD"),
        ({"dot": "554 spam"}, {}, 'does not accept the message.* "554 spam"'),
        ({"dot": DROP}, {}, "closes the connection"),
        (
            {"ehlo": "250 relay"},
            {"smtp_security": Security.STARTTLS},
            "does not offer STARTTLS: set SMTP_SECURITY=tls",
        ),
        (
            {"greeting": "220 in the clear"},
            {"smtp_security": Security.TLS},
            "^TLS with localhost:[0-9]+ fails .* tls on 465",
        ),
    ],
)
async def test_what_the_relay_does_is_explained(
    relay: ScriptedRelay,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    answers: dict[str, Answer],
    changes: dict[str, object],
    words: str,
) -> None:
    if HANG in answers.values():
        monkeypatch.setattr(module, "PATIENCE", 0.5)
    relay.answers |= answers

    told = await trouble(settings, **changes)

    assert re.search(words, told)
    assert "swordfish" not in told


async def test_a_port_where_nothing_listens_is_told(settings: Settings) -> None:
    port = free_port()

    for host in ("localhost", "127.0.0.1"):
        told = await trouble(settings, smtp_host=host, smtp_port=port)
        assert told.startswith(f"Nothing listens at {host}:{port}: check SMTP_PORT")


async def test_a_name_that_nobody_knows_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody_knows(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody_knows)

    told = await trouble(settings, smtp_host="smpt.engines.example.com")

    assert told.startswith("smpt.engines.example.com has no address: check the spelling of SMTP_HOST")


@pytest.fixture(params=[Security.TLS, Security.STARTTLS])
async def unproved(request: pytest.FixtureRequest) -> AsyncIterator[ScriptedRelay]:
    """Of an authority that this machine does not know."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(tls)
    relay = ScriptedRelay(answers={"ehlo": OFFER}, starttls=request.param is Security.STARTTLS, tls=tls)
    await relay.start()
    yield relay
    await relay.stop()


async def test_a_certificate_that_proves_nothing_is_told(unproved: ScriptedRelay, settings: Settings) -> None:
    security = Security.STARTTLS if unproved.starttls else Security.TLS

    told = await trouble(settings, smtp_port=unproved.port, smtp_security=security)

    assert told.startswith("localhost has no valid certificate (unable to get local issuer certificate): set")


async def test_a_test_mail_is_a_welcome_mail_and_nothing_is_stored(
    relay: ScriptedRelay, tmp_path: Path
) -> None:
    sent = await asyncio.to_thread(
        run, "send-test", "Ada@Example.com", folder=tmp_path, SMTP_HOST="127.0.0.1", SMTP_PORT=relay.port
    )

    assert sent.returncode == 0
    assert sent.stdout.startswith("The relay accepted it: 250 2.0.0 queued\n")
    [mail] = relay.accepted
    assert mail.recipient == "Ada@example.com"
    assert "Our service" in str(mail.message["Subject"])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [("nobody", 2, "a valid email address"), ("ada@example.com", 1, "550 no such user")],
)
async def test_a_test_mail_that_cannot_be_sent_fails(
    relay: ScriptedRelay, tmp_path: Path, address: str, status: int, words: str
) -> None:
    relay.answers["rcpt"] = "550 no such user"

    sent = await asyncio.to_thread(
        run, "send-test", address, folder=tmp_path, SMTP_HOST="127.0.0.1", SMTP_PORT=relay.port
    )

    assert sent.returncode == status
    assert words in sent.stderr
    assert "Traceback" not in sent.stderr


async def test_a_check_finds_a_sender_that_the_relay_refuses(relay: ScriptedRelay, tmp_path: Path) -> None:
    relay.answers["mail"] = "553 not yours"
    run("migrate", folder=tmp_path)

    checked = await asyncio.to_thread(
        run, "check", folder=tmp_path, SMTP_HOST="127.0.0.1", SMTP_PORT=relay.port
    )

    assert checked.returncode == 1
    assert "set MAIL_FROM" in checked.stderr
    assert relay.stages["rcpt"] == 0


def test_check_tests_every_part_whatever_is_wrong_before_and_creates_nothing(tmp_path: Path) -> None:
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "welcom.de.html").write_text("Hallo")
    (templates / "welcome.txt").write_text("Hello {{ nobody }}")
    port = free_port()
    (tmp_path / ".env").write_text(f"SMPT_HOST=relay\nMAIL_FROM='Ada\nSMTP_PORT={port}\nKEEP_ALIVE=long\n")

    checked = run("check", folder=tmp_path, TEMPLATES_DIR=templates, DATA_DIR="mistyped")

    assert checked.returncode == 1
    assert checked.stdout.split() == ["settings", "NOT", "ok", "database", "NOT", "ok", "relay", "NOT", "ok"]
    for words in (
        "KEEP_ALIVE is not valid: it takes a whole number (.env, line 4).",
        ".env, line 1: SMPT_HOST is no setting and is ignored: did you mean SMTP_HOST?",
        ".env, line 2: it cannot be read and is ignored",
        f"{templates}/welcom.de.html is no template and is ignored: did you mean welcome.html?",
        f"{templates}/welcome.txt, line 1, cannot be used: 'nobody' is undefined.",
        "The database mistyped/service.db cannot be used: there is no such file.",
        f"Nothing listens at localhost:{port}: check SMTP_PORT",
    ):
        assert words in checked.stderr
    assert sorted(os.listdir(tmp_path)) == [".env", "templates"]


@pytest.mark.parametrize(
    ("variables", "sentence", "relay"),
    [
        (
            {"MAIL_HEADERS": "X-Mail-Id: 1", "MAIL_IDEMPOTENCY_HEADER": "X-Mail-Id"},
            "MAIL_HEADERS and MAIL_IDEMPOTENCY_HEADER: they name the same header; remove one.",
            "Nothing listens at localhost:",
        ),
        (
            {"SMTP_USERNAME": "ada"},
            "SMTP_USERNAME and SMTP_PASSWORD: set both or neither.",
            "Not tested, because its settings are wrong.",
        ),
        (
            {"SMTP_USERNAME": "ada", "SMTP_AUTH": "xoauth2", "SMTP_OAUTH_CLIENT_ID": "engine"},
            "SMTP_OAUTH_TOKEN_URL, SMTP_OAUTH_CLIENT_SECRET: set them, because SMTP_AUTH is xoauth2.",
            "Not tested, because its settings are wrong.",
        ),
        (
            {"SMTP_USERNAME": "ada", "SMTP_OAUTH_TOKEN_URL": "https://login.example.com/token"},
            "SMTP_AUTH: set it to xoauth2 to log in with SMTP_OAUTH_TOKEN_URL.",
            "Not tested, because its settings are wrong.",
        ),
        (  # a documentation address (RFC 5737): nothing would answer
            {"SMTP_HOST": "192.0.2.1", "SMTP_USERNAME": "ada", "SMTP_PASSWORD": "swordfish"},
            "SMTP_PASSWORD would travel in the clear to 192.0.2.1: set SMTP_SECURITY to starttls or tls.",
            "Not tested, because its settings are wrong.",
        ),
    ],
)
def test_check_tests_the_other_parts_if_settings_do_not_fit_together(
    tmp_path: Path, variables: dict[str, str], sentence: str, relay: str
) -> None:
    checked = run("check", folder=tmp_path, SMTP_PORT=free_port(), **variables)

    assert checked.stdout.split() == ["settings", "NOT", "ok", "database", "NOT", "ok", "relay", "NOT", "ok"]
    assert sentence in checked.stderr
    assert relay in checked.stderr


async def test_a_person_sees_what_check_waits_for(relay: ScriptedRelay, tmp_path: Path) -> None:
    relay.delays["greeting"] = 0.5
    environment = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": relay.port}

    shown = await asyncio.to_thread(run_on_terminal, "check", folder=tmp_path, environment=environment)

    assert "Asking the relay" in shown.text
    assert "relay     ok" in shown.text


async def test_check_is_content_with_what_works(
    relay: ScriptedRelay, database_url: str, tmp_path: Path
) -> None:
    environment = {"DATABASE_URL": database_url, "SMTP_HOST": "127.0.0.1", "SMTP_PORT": relay.port}

    checked = await asyncio.to_thread(run, "check", folder=tmp_path, **environment)

    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout == "settings  ok\ndatabase  ok\nrelay     ok\n"


def test_the_database_and_its_folder_are_for_their_owner_alone(tmp_path: Path) -> None:
    run("migrate", folder=tmp_path)

    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "data/service.db").stat().st_mode) == 0o600


ON_DATA = [
    *(["outbox", command] for command in ("list", "retry --all", "drop --all")),
    *(["users", command] for command in ("list", "export", "erase a@b.org")),
    *(["audit", command] for command in ("list", "verify")),
]


def test_every_command_names_a_database_that_was_not_migrated(
    empty_database_url: str, engine_name: str, tmp_path: Path
) -> None:
    if engine_name == "sqlite":
        Path(empty_database_url.removeprefix("sqlite:///")).touch()

    for group, command in ON_DATA:
        ended = run(group, *command.split(), folder=tmp_path, DATABASE_URL=empty_database_url)

        assert ended.returncode == 1, (group, command)
        assert ended.stderr == "The database was not migrated: run `signup-service migrate`.\n"
        assert ended.stdout == ""
