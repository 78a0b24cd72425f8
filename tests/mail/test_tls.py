"""With SMTP_SECURITY set, nothing is sent in the clear, nor to a relay that cannot prove who it is."""

import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from service.mail import relay as module
from service.mail.relay import Relay
from service.outbox.channel import ChannelTrouble
from service.settings import Security, Settings
from tests.support.mail import MESSAGE, OFFER
from tests.support.relay import Answer, ScriptedRelay

NO_OFFER = "250-relay\r\n250 AUTH PLAIN LOGIN"

ENCRYPTED = pytest.mark.parametrize("security", [Security.STARTTLS, Security.TLS])


@pytest.fixture
async def encrypted(
    authority: trustme.CA, security: Security
) -> AsyncIterator[Callable[[trustme.LeafCert], ScriptedRelay]]:
    """Makes a relay with that certificate, which wants TLS as `security` has it."""
    relay = ScriptedRelay(answers={"ehlo": OFFER}, starttls=security is Security.STARTTLS)

    def with_certificate(certificate: trustme.LeafCert) -> ScriptedRelay:
        relay.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(relay.tls)
        return relay

    yield with_certificate
    await relay.stop()


def ours(relay: ScriptedRelay, security: Security) -> Relay:
    """We know it as localhost, and have a password for it."""
    return Relay(
        Settings(
            smtp_host="localhost",
            smtp_port=relay.port,
            smtp_security=security,
            smtp_username="ada",
            smtp_password="swordfish",
        )
    )


def assert_nothing_was_said(relay: ScriptedRelay) -> None:
    assert relay.stages["auth"] == relay.stages["mail"] == relay.stages["data"] == 0


Issue = Callable[[trustme.CA], trustme.LeafCert]


@ENCRYPTED
async def test_a_relay_that_proves_who_it_is_gets_password_and_message(
    encrypted: Callable[[trustme.LeafCert], ScriptedRelay], authority: trustme.CA, security: Security
) -> None:
    relay = encrypted(authority.issue_cert("localhost"))
    await relay.start()

    connections = ours(relay, security)
    await connections.send(MESSAGE)
    await connections.close()

    assert relay.stages["auth"] == len(relay.accepted) == 1
    assert relay.stages["starttls"] == int(security is Security.STARTTLS)


@ENCRYPTED
@pytest.mark.parametrize(
    ("issue", "reason"),
    [
        (lambda _: trustme.CA().issue_cert("localhost"), "unable to get local issuer certificate"),
        (lambda ca: ca.issue_cert("relay.example.com"), "not valid for 'localhost'"),
        (lambda ca: ca.issue_cert("127.0.0.1"), "not valid for 'localhost'"),
        (
            lambda ca: ca.issue_cert("localhost", not_after=datetime.now(UTC) - timedelta(days=1)),
            "certificate has expired",
        ),
    ],
    ids=["of an unknown authority", "of another name", "of an address", "expired"],
)
async def test_a_relay_that_cannot_prove_it_is_told_nothing(
    encrypted: Callable[[trustme.LeafCert], ScriptedRelay],
    authority: trustme.CA,
    security: Security,
    issue: Issue,
    reason: str,
) -> None:
    relay = encrypted(issue(authority))
    await relay.start()

    with pytest.raises(ChannelTrouble) as caught:
        await ours(relay, security).send(MESSAGE)

    assert "CERTIFICATE_VERIFY_FAILED" in caught.value.reason
    assert reason in caught.value.reason
    assert_nothing_was_said(relay)


@ENCRYPTED
async def test_a_relay_that_speaks_an_old_tls_is_told_nothing(
    encrypted: Callable[[trustme.LeafCert], ScriptedRelay], authority: trustme.CA, security: Security
) -> None:
    relay = encrypted(authority.issue_cert("localhost"))
    assert relay.tls
    relay.tls.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        relay.tls.minimum_version = relay.tls.maximum_version = ssl.TLSVersion.TLSv1_1
    await relay.start()

    with pytest.raises(ChannelTrouble):
        await ours(relay, security).send(MESSAGE)

    assert_nothing_was_said(relay)


@pytest.mark.parametrize(
    ("security", "answers"),
    [
        (Security.TLS, {"ehlo": OFFER}),
        (Security.STARTTLS, {"ehlo": NO_OFFER}),
        (Security.STARTTLS, {"ehlo": "250 relay"}),
        (Security.STARTTLS, {"ehlo": "502 what is that?"}),
        (Security.STARTTLS, {"ehlo": OFFER, "starttls": "454 not now"}),
        (Security.STARTTLS, {"ehlo": OFFER, "starttls": "501 never"}),
    ],
)
async def test_encryption_that_somebody_took_out_is_never_done_without(
    relay: ScriptedRelay, security: Security, answers: dict[str, Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT_TIMEOUT", 0.5)
    relay.answers |= answers
    relay.tls, relay.starttls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), True

    with pytest.raises(ChannelTrouble):
        await ours(relay, security).send(MESSAGE)

    assert_nothing_was_said(relay)


async def test_what_is_said_in_clear_before_tls_does_not_count_after_it(authority: trustme.CA) -> None:
    """Somebody in between appends an answer to the next command: a relay that asks for no password."""
    relay = ScriptedRelay(answers={"ehlo": OFFER, "starttls": "220 go on\r\n250-injected\r\n250 SIZE 1"})
    relay.tls, relay.starttls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), True
    authority.issue_cert("localhost").configure_cert(relay.tls)
    await relay.start()

    connections = ours(relay, Security.STARTTLS)
    await connections.send(MESSAGE)

    assert relay.stages["auth"] == len(relay.accepted) == 1
    await connections.close()
    await relay.stop()
