"""What the relay says and does, told apart by what we must do about it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.mail import relay as module
from service.mail import smtp_session
from service.mail.message import Message
from service.mail.relay import FinalRefusal, LaterRefusal, Relay, RelayTrouble, Withdrawn
from service.settings import Settings
from tests.support.eventually import eventually
from tests.support.mail import MESSAGE
from tests.support.relay import DROP, HANG, ScriptedRelay


@pytest.fixture
def short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONNECT_TIMEOUT", "COMMAND_TIMEOUT", "FINAL_DOT_TIMEOUT"):
        monkeypatch.setattr(module, name, 0.2)


@pytest.fixture(params=["one at a time", "pipelining"], autouse=True)
def commands(relay: ScriptedRelay, request: pytest.FixtureRequest) -> None:
    """Whether the relay takes several at once, or has not even said so."""
    if request.param == "one at a time":
        relay.answers["ehlo"] = "250 relay"


@pytest.fixture
async def connections(relay: ScriptedRelay) -> AsyncIterator[Relay]:
    connections = Relay(Settings(smtp_host="127.0.0.1", smtp_port=relay.port))
    yield connections
    await connections.close()


async def test_a_message_is_handed_over(connections: Relay, relay: ScriptedRelay) -> None:
    reply = await connections.send(MESSAGE)

    assert reply == "250 2.0.0 queued"
    [envelope] = relay.accepted
    assert (envelope.sender, envelope.recipient) == (MESSAGE.sender, MESSAGE.recipient)
    assert envelope.content == MESSAGE.content


async def test_a_message_that_is_no_longer_ours_is_not_handed_over(
    connections: Relay, relay: ScriptedRelay
) -> None:
    with pytest.raises(Withdrawn):
        await connections.send(MESSAGE, may_begin=lambda: False)

    await eventually(lambda: relay.connections == 0)
    assert relay.stages["data"] == 1
    assert relay.stages["dot"] == 0


async def test_a_connection_is_kept_for_the_next_message(connections: Relay, relay: ScriptedRelay) -> None:
    await connections.send(MESSAGE)
    await connections.send(MESSAGE)

    assert relay.stages["greeting"] == 1
    assert len(relay.accepted) == 2


async def test_lines_that_begin_with_a_dot_arrive_as_they_are(
    connections: Relay, relay: ScriptedRelay
) -> None:
    content = b"Subject: dots\r\n\r\n.\r\n..\r\n.hidden\r\n"

    await connections.send(Message(MESSAGE.sender, MESSAGE.recipient, content))

    assert relay.accepted[0].content == content


@pytest.mark.parametrize(
    ("stage", "reply", "refusal"),
    [
        ("rcpt", "550 5.1.1 no such user", FinalRefusal),
        ("rcpt", "552 mailbox full for good", FinalRefusal),
        ("rcpt", "450 4.2.1 busy", LaterRefusal),
        ("rcpt", "451 4.7.1 greylisted", LaterRefusal),
        ("rcpt", "452 4.2.2 full", LaterRefusal),
        ("data", "554 not this one", FinalRefusal),
        ("data", "451 not now", LaterRefusal),
        ("dot", "554 5.7.1 spam", FinalRefusal),
        ("dot", "552 too big", FinalRefusal),
        ("dot", "451 try again", LaterRefusal),
        ("rcpt", "550 5.7.1 relaying denied", RelayTrouble),
        ("rcpt", "530 authenticate first", RelayTrouble),
        ("rcpt", "421 closing", RelayTrouble),
        ("dot", "421 closing", RelayTrouble),
        ("mail", "550 sender not allowed", RelayTrouble),
        ("mail", "451 not now", RelayTrouble),
        ("greeting", "554 go away", RelayTrouble),
        ("greeting", "421 too busy", RelayTrouble),
    ],
)
async def test_whose_fault_an_answer_is(
    connections: Relay, relay: ScriptedRelay, stage: str, reply: str, refusal: type[Exception]
) -> None:
    relay.answers[stage] = reply

    with pytest.raises(refusal) as caught:
        await connections.send(MESSAGE)

    assert reply[:3] in caught.value.reason  # type: ignore[attr-defined]  # each of the three has one
    assert not getattr(caught.value, "unknown", False)
    assert relay.accepted == []


@pytest.mark.parametrize("behaviour", [HANG, DROP])
@pytest.mark.parametrize("stage", ["greeting", "ehlo", "mail", "rcpt", "data", "dot"])
@pytest.mark.usefixtures("short_deadlines")
async def test_a_relay_that_hangs_or_hangs_up_is_the_relays_trouble(
    connections: Relay, relay: ScriptedRelay, stage: str, behaviour: str
) -> None:
    relay.answers[stage] = behaviour

    async with asyncio.timeout(5):
        with pytest.raises(RelayTrouble) as caught:
            await connections.send(MESSAGE)

    assert caught.value.unknown == (stage == "dot")


async def test_no_relay_at_all_is_the_relays_trouble(relay: ScriptedRelay, connections: Relay) -> None:
    await relay.stop()

    with pytest.raises(RelayTrouble) as caught:
        await connections.send(MESSAGE)

    assert "127.0.0.1" in caught.value.reason


@pytest.mark.usefixtures("short_deadlines")
async def test_a_relay_that_says_nothing_is_named(relay: ScriptedRelay, connections: Relay) -> None:
    relay.answers["greeting"] = HANG

    with pytest.raises(RelayTrouble) as caught:
        await connections.send(MESSAGE)

    assert caught.value.reason == f"127.0.0.1:{relay.port} did not answer within 0.2 s"


async def test_a_name_that_does_not_exist_is_the_relays_trouble() -> None:
    with pytest.raises(RelayTrouble):
        await Relay(Settings(smtp_host="relay.invalid")).send(MESSAGE)


@pytest.mark.usefixtures("short_deadlines")
async def test_a_greeting_that_trickles_is_cut_off() -> None:
    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"2")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async with asyncio.timeout(3):
        with pytest.raises(RelayTrouble):
            await Relay(Settings(smtp_host="127.0.0.1", smtp_port=port)).send(MESSAGE)
    server.close()


@pytest.mark.parametrize(("stage", "refusal"), [("ehlo", RelayTrouble), ("rcpt", LaterRefusal)])
async def test_an_endless_answer_is_cut_off(
    connections: Relay, relay: ScriptedRelay, stage: str, refusal: type[Exception]
) -> None:
    relay.answers[stage] = "\r\n".join(["250-more"] * 10_000)

    async with asyncio.timeout(5):
        with pytest.raises(refusal, match="too long"):
            await connections.send(MESSAGE)


async def test_an_answer_of_several_lines_is_one_answer(connections: Relay, relay: ScriptedRelay) -> None:
    relay.answers["dot"] = "250-2.0.0 thank you\r\n250 queued"

    assert await connections.send(MESSAGE) == "250 2.0.0 thank you\nqueued"


@pytest.mark.parametrize("nonsense", ["hello", "25", "", "٢٥٠ ok"])
async def test_an_answer_that_is_none_is_not_taken_for_a_yes(
    connections: Relay, relay: ScriptedRelay, nonsense: str
) -> None:
    relay.answers["dot"] = nonsense

    with pytest.raises(RelayTrouble) as caught:
        await connections.send(MESSAGE)

    assert caught.value.unknown


async def test_a_relay_that_takes_leave_between_messages_is_asked_again(
    connections: Relay, relay: ScriptedRelay
) -> None:
    relay.answers["dot"] = "250 queued\r\n421 you were idle"
    await connections.send(MESSAGE)

    assert await connections.send(MESSAGE) == "250 queued"
    assert relay.stages["greeting"] == 2


async def test_a_refused_recipient_costs_the_next_one_nothing(
    connections: Relay, relay: ScriptedRelay
) -> None:
    await connections.send(MESSAGE)
    relay.answers["rcpt"] = "550 5.1.1 no such user"
    with pytest.raises(FinalRefusal):
        await connections.send(MESSAGE)
    del relay.answers["rcpt"]

    assert await connections.send(MESSAGE) == "250 2.0.0 queued"
    assert len(relay.accepted) == 2


async def test_an_idle_connection_that_died_costs_nothing(connections: Relay, relay: ScriptedRelay) -> None:
    await connections.send(MESSAGE)
    await relay.stop()
    await relay.start()

    assert await connections.send(MESSAGE) == "250 2.0.0 queued"


async def test_a_relay_that_closes_between_messages_is_asked_again(
    connections: Relay, relay: ScriptedRelay
) -> None:
    await connections.send(MESSAGE)
    second = iter(["421 restarting", "250 ok"])
    relay.answers["mail"] = lambda _: next(second)

    assert await connections.send(MESSAGE) == "250 2.0.0 queued"


async def test_connections_that_idle_too_long_are_closed(
    connections: Relay, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connections.send(MESSAGE)
    monkeypatch.setattr(module, "IDLE_TIMEOUT", 0)

    await connections.close_stale()

    await eventually(lambda: relay.connections == 0)
    assert relay.stages["quit"] == 1


async def test_a_relay_that_does_not_let_go_holds_nobody_up(
    connections: Relay, relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.delays["dot"] = 0.1
    await asyncio.gather(*(connections.send(MESSAGE) for _ in range(10)))
    relay.answers["quit"] = HANG
    monkeypatch.setattr(module, "IDLE_TIMEOUT", 0)
    monkeypatch.setattr(smtp_session, "QUIT_TIMEOUT", 0.2)

    async with asyncio.timeout(1):
        await connections.close_stale()

    assert relay.stages["quit"] == 10


async def test_wrong_credentials_are_the_relays_trouble(relay: ScriptedRelay) -> None:
    relay.answers["ehlo"] = "250-relay\r\n250 AUTH PLAIN LOGIN"
    relay.answers["auth"] = "535 5.7.8 wrong"
    connections = Relay(
        Settings(smtp_host="127.0.0.1", smtp_port=relay.port, smtp_username="ada", smtp_password="secret")
    )

    with pytest.raises(RelayTrouble) as caught:
        await connections.send(MESSAGE)

    assert "535" in caught.value.reason
    assert "secret" not in caught.value.reason
