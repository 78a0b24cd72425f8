"""What the relay says and does, told apart by what we must do about it."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from service.mail import connection as connection_module
from service.mail import relay as module
from service.mail import smtp_session
from service.mail.message import Message
from service.mail.relay import Relay
from service.outbox.channel import (
    ChannelFull,
    ChannelTrouble,
    Fault,
    FinalRefusal,
    LaterRefusal,
    Refusal,
    SendCancelled,
)
from service.settings import Settings
from tests.support.eventually import eventually
from tests.support.mail import MESSAGE
from tests.support.relay import DROP, HANG, Answer, ScriptedRelay


@pytest.fixture
def short_deadline(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """Of this stage alone: others may take long on a busy machine."""
    others = {"rcpt": "COMMAND_TIMEOUT", "data": "COMMAND_TIMEOUT", "dot": "FINAL_DOT_TIMEOUT"}
    monkeypatch.setattr(module, others.get(stage, "CONNECT_TIMEOUT"), 0.2)


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
    with pytest.raises(SendCancelled):
        await connections.send(MESSAGE, may_send=lambda: False)

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
    ("stage", "reply", "refusal", "fault"),
    [
        ("rcpt", "550 5.1.1 no such user", FinalRefusal, Fault.RECIPIENT),
        ("rcpt", "556 5.1.10 null MX", FinalRefusal, Fault.RECIPIENT),
        ("rcpt", "550 5.1.8 sender's domain not found", FinalRefusal, Fault.UNCLEAR),
        ("rcpt", "550 5.1.0 sender unknown", FinalRefusal, Fault.UNCLEAR),
        ("rcpt", "552 mailbox full for good", FinalRefusal, Fault.UNCLEAR),
        ("rcpt", "552 5.2.2 mailbox full", FinalRefusal, Fault.RECIPIENT),
        ("rcpt", "550 5.7.1 relaying denied", FinalRefusal, Fault.CHANNEL),
        ("rcpt", "450 4.2.1 busy", LaterRefusal, Fault.RECIPIENT),
        ("rcpt", "451 4.7.1 greylisted", LaterRefusal, Fault.RECIPIENT),
        ("rcpt", "452 4.2.2 full", LaterRefusal, Fault.RECIPIENT),
        ("rcpt", "454 4.7.1 Relay access denied", LaterRefusal, Fault.CHANNEL),
        ("rcpt", "421 closing", LaterRefusal, Fault.CHANNEL),
        ("data", "554 not this one", FinalRefusal, Fault.UNCLEAR),
        ("data", "451 not now", LaterRefusal, Fault.RECIPIENT),
        ("dot", "554 5.7.1 spam", FinalRefusal, Fault.UNCLEAR),
        ("dot", "554 5.2.252 SendAsDenied", FinalRefusal, Fault.UNCLEAR),
        ("dot", "552 too big", FinalRefusal, Fault.UNCLEAR),
        ("dot", "451 try again", LaterRefusal, Fault.RECIPIENT),
        ("dot", "421 closing", LaterRefusal, Fault.CHANNEL),
    ],
)
async def test_whose_fault_a_refusal_is(
    connections: Relay,
    relay: ScriptedRelay,
    stage: str,
    reply: str,
    refusal: type[Refusal],
    fault: Fault,
) -> None:
    relay.answers[stage] = reply

    with pytest.raises(refusal) as caught:
        await connections.send(MESSAGE)

    assert (caught.value.reason, caught.value.fault) == (reply, fault)
    assert not caught.value.unknown
    assert relay.accepted == []


@pytest.mark.parametrize(
    ("stage", "reply"),
    [
        ("rcpt", "530 authenticate first"),
        ("mail", "550 sender not allowed"),
        ("mail", "451 not now"),
        ("greeting", "554 go away"),
        ("greeting", "421 too busy"),
    ],
)
async def test_what_is_the_relays_trouble(
    connections: Relay, relay: ScriptedRelay, stage: str, reply: str
) -> None:
    relay.answers[stage] = reply

    with pytest.raises(ChannelTrouble) as caught:
        await connections.send(MESSAGE)

    assert caught.value.reason == reply
    assert relay.accepted == []


@pytest.mark.parametrize("behavior", [HANG, DROP])
@pytest.mark.parametrize("stage", ["greeting", "ehlo", "mail"])
@pytest.mark.usefixtures("short_deadline")
async def test_a_relay_that_hangs_or_hangs_up_before_the_recipient_is_the_relays_trouble(
    connections: Relay, relay: ScriptedRelay, stage: str, behavior: str
) -> None:
    relay.answers[stage] = behavior

    async with asyncio.timeout(5):
        with pytest.raises(ChannelTrouble):
            await connections.send(MESSAGE)


@pytest.mark.parametrize("behavior", [HANG, DROP])
@pytest.mark.parametrize("stage", ["rcpt", "data", "dot"])
@pytest.mark.usefixtures("short_deadline")
async def test_a_relay_that_hangs_or_hangs_up_after_the_recipient_may_do_so_for_this_one_alone(
    connections: Relay, relay: ScriptedRelay, stage: str, behavior: str
) -> None:
    relay.answers[stage] = behavior

    async with asyncio.timeout(5):
        with pytest.raises(LaterRefusal) as caught:
            await connections.send(MESSAGE)

    assert caught.value.fault is Fault.CHANNEL
    assert caught.value.unknown == (stage == "dot")


async def test_a_relay_that_is_fast_again_is_given_as_little_time_as_at_first(
    relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT_TIMEOUT", 0.2)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 0.0))
    connections = Relay(Settings(smtp_host="127.0.0.1", smtp_port=relay.port))
    for behavior, within in ((HANG, "0.2"), (HANG, "0.4"), ("220 ready", None), (HANG, "0.2")):
        relay.answers["greeting"] = behavior
        if within is None:
            await connections.probe()
            continue
        with pytest.raises(ChannelTrouble, match=re.escape(f"did not answer within {within} s")):
            await connections.probe()


async def test_no_relay_at_all_is_the_relays_trouble(relay: ScriptedRelay, connections: Relay) -> None:
    await relay.stop()

    with pytest.raises(ChannelTrouble) as caught:
        await connections.send(MESSAGE)

    assert "127.0.0.1" in caught.value.reason


@pytest.mark.parametrize("stage", ["greeting"])
@pytest.mark.usefixtures("short_deadline")
async def test_a_relay_that_says_nothing_is_named(
    relay: ScriptedRelay, connections: Relay, stage: str
) -> None:
    relay.answers[stage] = HANG

    with pytest.raises(ChannelTrouble) as caught:
        await connections.send(MESSAGE)

    assert caught.value.reason == f"127.0.0.1:{relay.port} did not answer within 0.2 s"


async def test_a_name_that_does_not_exist_is_the_relays_trouble() -> None:
    with pytest.raises(ChannelTrouble):
        await Relay(Settings(smtp_host="relay.invalid")).send(MESSAGE)


async def test_a_greeting_that_trickles_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_TIMEOUT", 0.2)

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
        with pytest.raises(ChannelTrouble):
            await Relay(Settings(smtp_host="127.0.0.1", smtp_port=port)).send(MESSAGE)
    server.close()


@pytest.mark.parametrize(("stage", "refusal"), [("ehlo", ChannelTrouble), ("rcpt", LaterRefusal)])
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


async def test_a_reply_out_of_turn_is_not_taken_for_the_next_one(
    connections: Relay, relay: ScriptedRelay
) -> None:
    relay.answers["dot"] = "250 2.0.0 queued\r\n550 5.7.1 and another thing"
    await connections.send(MESSAGE)
    del relay.answers["dot"]

    assert await connections.send(MESSAGE) == "250 2.0.0 queued"

    assert (relay.stages["greeting"], relay.stages["mail"]) == (2, 2)  # and no word more on the first


@pytest.mark.parametrize("nonsense", ["hello", "25", "", "٢٥٠ ok"])
async def test_an_answer_that_is_none_is_not_taken_for_a_yes(
    connections: Relay, relay: ScriptedRelay, nonsense: str
) -> None:
    relay.answers["dot"] = nonsense

    with pytest.raises(LaterRefusal) as caught:
        await connections.send(MESSAGE)

    assert caught.value.unknown


async def test_a_relay_that_takes_leave_between_messages_is_asked_again(
    connections: Relay, relay: ScriptedRelay
) -> None:
    relay.answers["dot"] = "250 queued\r\n421 you were idle"
    await connections.send(MESSAGE)

    assert await connections.send(MESSAGE) == "250 queued"
    assert relay.stages["greeting"] == 2


@pytest.mark.parametrize("stage", ["rcpt", "data", "dot"])
async def test_a_refusal_costs_no_connection(connections: Relay, relay: ScriptedRelay, stage: str) -> None:
    await connections.send(MESSAGE)
    relay.answers[stage] = "550 5.1.1 no such user"
    for _ in range(3):
        with pytest.raises(FinalRefusal):
            await connections.send(MESSAGE)
    del relay.answers[stage]

    assert await connections.send(MESSAGE) == "250 2.0.0 queued"
    assert len(relay.accepted) == 2
    assert relay.stages["greeting"] == 1


async def test_many_refusals_end_a_connection_before_the_relay_does(
    connections: Relay, relay: ScriptedRelay
) -> None:
    relay.answers["rcpt"] = "550 5.1.1 no such user"
    for _ in range(20):
        with pytest.raises(FinalRefusal):
            await connections.send(MESSAGE)

    errors = relay.stages["rcpt"] + relay.commands.count("DATA")  # which is refused without a recipient
    assert module.MAX_ERRORS * relay.stages["quit"] <= errors <= 8 * relay.stages["greeting"]
    assert relay.stages["quit"] > 1


async def test_refusals_among_others_end_no_connection(connections: Relay, relay: ScriptedRelay) -> None:
    for _ in range(10):
        relay.answers["rcpt"] = "550 5.1.1 no such user"
        for _ in range(2):
            with pytest.raises(FinalRefusal):
                await connections.send(MESSAGE)
        del relay.answers["rcpt"]
        await connections.send(MESSAGE)

    assert relay.stages["greeting"] == 1


@pytest.mark.parametrize(
    ("stage", "answers"),
    [
        ("greeting", {}),
        ("ehlo", {}),
        ("mail", {}),
        ("rcpt", {}),
        ("data", {}),
        ("dot", {}),
        ("rset", {"rcpt": "550 5.1.1 no such user"}),
        ("quit", {"mail": "550 not this sender"}),
    ],
)
async def test_whoever_is_cancelled_leaves_no_connection_open(
    connections: Relay, relay: ScriptedRelay, stage: str, answers: dict[str, Answer]
) -> None:
    relay.answers |= {**answers, stage: HANG}
    sending = asyncio.create_task(connections.send(MESSAGE))
    await eventually(lambda: relay.stages[stage])

    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)

    await eventually(lambda: relay.connections == 0)


@pytest.mark.parametrize("reply", ["251 forwarded", "252 cannot tell, but will try"])
async def test_a_recipient_may_be_taken_in_other_words(
    connections: Relay, relay: ScriptedRelay, reply: str
) -> None:
    relay.answers["rcpt"] = reply

    assert await connections.send(MESSAGE) == "250 2.0.0 queued"


async def test_a_relay_that_closes_at_the_recipient_of_a_connection_used_before_is_asked_again(
    connections: Relay, relay: ScriptedRelay
) -> None:
    await connections.send(MESSAGE)
    second = iter(["421 4.7.0 enough for this connection", "250 ok"])
    relay.answers["rcpt"] = lambda _: next(second)

    assert await connections.send(MESSAGE) == "250 2.0.0 queued"
    assert relay.stages["greeting"] == 2


async def test_a_recipient_at_whom_the_relay_hangs_up_costs_one_kept_connection(
    connections: Relay, relay: ScriptedRelay
) -> None:
    relay.delays["dot"] = 0.1  # so that each message needs a connection of its own
    await asyncio.gather(*(connections.send(MESSAGE) for _ in range(3)))
    relay.answers["rcpt"] = DROP

    with pytest.raises(LaterRefusal):
        await connections.send(MESSAGE)

    assert relay.stages["greeting"] == 4
    await eventually(lambda: relay.connections == 2)


async def test_a_session_that_fails_ends_with_quit(connections: Relay, relay: ScriptedRelay) -> None:
    relay.answers["mail"] = "550 not this sender"

    with pytest.raises(ChannelTrouble):
        await connections.send(MESSAGE)

    await eventually(lambda: relay.stages["quit"] == 1)


async def test_words_that_are_not_utf8_are_words_that_json_can_hold(
    connections: Relay, relay: ScriptedRelay
) -> None:
    relay.encoding = "latin-1"
    relay.answers["rcpt"] = "550 5.1.1 bo\u00eete inconnue"

    with pytest.raises(FinalRefusal) as caught:
        await connections.send(MESSAGE)

    assert caught.value.reason == "550 5.1.1 bo\ufffdte inconnue"


@pytest.mark.parametrize("stage", ["greeting", "ehlo", "mail"])
async def test_words_of_trouble_too(connections: Relay, relay: ScriptedRelay, stage: str) -> None:
    relay.encoding = "gbk"
    relay.answers[stage] = "554 \u62d2\u7edd"

    with pytest.raises(ChannelTrouble) as caught:
        await connections.send(MESSAGE)

    assert caught.value.reason.encode().startswith(b"554 \xef\xbf\xbd")


async def test_a_relay_that_has_no_more_connections_is_full_while_others_are_used(
    connections: Relay, relay: ScriptedRelay
) -> None:
    relay.delays["dot"] = 0.3
    first = asyncio.create_task(connections.send(MESSAGE))
    await eventually(lambda: relay.stages["dot"])
    relay.answers["greeting"] = "421 4.7.0 too many connections"

    with pytest.raises(ChannelFull) as caught:
        await connections.send(MESSAGE)

    assert caught.value.connections == 1
    await first


@pytest.mark.parametrize("stage", ["greeting", "ehlo"])
async def test_a_relay_that_has_no_more_connections_is_full_while_others_are_kept(
    connections: Relay, relay: ScriptedRelay, stage: str
) -> None:
    relay.delays["dot"] = 0.1
    begun = [asyncio.create_task(connections.send(MESSAGE)) for _ in range(2)]
    await eventually(lambda: relay.stages["dot"] == 2)
    relay.answers[stage] = "421 4.7.0 too many connections"
    relay.delays[stage] = 0.3
    refused = asyncio.create_task(connections.send(MESSAGE))
    await asyncio.gather(*begun)

    with pytest.raises(ChannelFull) as caught:
        await refused

    assert caught.value.connections == 2


@pytest.mark.parametrize("stage", ["greeting", "ehlo", "mail", "rcpt"])
@pytest.mark.usefixtures("short_deadline")
async def test_a_relay_that_is_slow_is_waited_for_longer_the_next_time(
    connections: Relay, relay: ScriptedRelay, stage: str
) -> None:
    relay.delays[stage] = 0.3
    replies = []
    for _ in range(4):
        try:
            replies.append(await connections.send(MESSAGE))
        except (ChannelTrouble, Refusal):
            continue

    assert replies
    assert set(replies) == {"250 2.0.0 queued"}


@pytest.mark.parametrize(
    ("reply", "is_trouble"),
    [
        ("454 4.7.1 Relay access denied", True),
        ("554 5.7.1 Relay access denied", True),
        ("530 authenticate first", True),
        ("550 5.1.1 no such user", False),
        ("451 4.7.1 greylisted", False),
    ],
)
async def test_a_probe_notices_that_we_may_not_relay(
    connections: Relay, relay: ScriptedRelay, reply: str, is_trouble: bool
) -> None:
    relay.answers["rcpt"] = reply

    if is_trouble:
        with pytest.raises(ChannelTrouble, match=reply):
            await connections.probe()
    else:
        await connections.probe()

    assert relay.stages["data"] == 0
    await eventually(lambda: relay.stages["quit"] == 1)


@pytest.mark.parametrize("stage", ["greeting", "mail", "rcpt"])
@pytest.mark.usefixtures("short_deadline")
async def test_somebody_who_waits_for_the_result_of_one_try_is_patient(
    relay: ScriptedRelay, stage: str
) -> None:
    relay.delays[stage] = 0.3
    connections = Relay(Settings(smtp_host="127.0.0.1", smtp_port=relay.port), patience=5)

    await connections.probe()
    assert await connections.send(MESSAGE) == "250 2.0.0 queued"

    await connections.close()


async def test_the_next_address_is_tried_when_the_first_says_nothing(
    relay: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent, found = ("192.0.2.1", relay.port), ("127.0.0.1", relay.port)
    entries = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in (silent, found)]
    tried = []
    connect = connection_module._connect_socket

    async def only_the_second_answers(*entry: Any) -> socket.socket:
        tried.append(entry[-1])
        return await (asyncio.Event().wait() if entry[-1] == silent else connect(*entry))  # type: ignore[return-value]  # waits for ever

    async def resolve(*_: object, **__: object) -> list[Any]:
        return list(entries)

    monkeypatch.setattr(connection_module, "TCP_TIMEOUT", 0.4)
    monkeypatch.setattr(connection_module, "_connect_socket", only_the_second_answers)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    connections = Relay(Settings(smtp_host="relay.example.com.", smtp_port=relay.port))

    await asyncio.gather(connections.send(MESSAGE))
    await asyncio.gather(*(connections.send(MESSAGE) for _ in range(2)))

    assert tried == [silent, found, found]
    await connections.close()


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
    monkeypatch.setattr(smtp_session, "QUIT_TIMEOUT", 1.0)

    async with asyncio.timeout(5):
        await connections.close_stale()

    assert relay.stages["quit"] == 10


def with_password(relay: ScriptedRelay) -> Relay:
    return Relay(
        Settings(smtp_host="127.0.0.1", smtp_port=relay.port, smtp_username="ada", smtp_password="secret")
    )


async def test_wrong_credentials_are_the_relays_trouble_and_tried_seldom(relay: ScriptedRelay) -> None:
    relay.answers["ehlo"] = "250-relay\r\n250 AUTH PLAIN LOGIN"
    relay.answers["auth"] = "535 5.7.8 wrong"

    with pytest.raises(ChannelTrouble) as caught:
        await with_password(relay).send(MESSAGE)

    assert "535" in caught.value.reason
    assert "secret" not in caught.value.reason
    assert caught.value.pause >= 30
    assert relay.stages["quit"] == 1


@pytest.mark.parametrize("after", [DROP, "504 not really"])
async def test_they_are_whatever_the_relay_does_after_it_refused_them(
    relay: ScriptedRelay, after: str
) -> None:
    answers = iter(["535 5.7.8 wrong", after])
    relay.answers["ehlo"] = "250-relay\r\n250 AUTH PLAIN LOGIN"
    relay.answers["auth"] = lambda _: next(answers)

    with pytest.raises(ChannelTrouble, match=r"^535") as caught:
        await with_password(relay).send(MESSAGE)

    assert caught.value.pause >= 30


@pytest.mark.parametrize("broken", ["535 5.7.8 forbidden", "334 this is no challenge", "504 not really"])
async def test_the_next_way_to_log_in_is_tried_where_one_is_broken(
    relay: ScriptedRelay, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "AUTH_METHODS", ("cram-md5", "plain", "login"))
    answers = iter([broken, "235 welcome", "235 welcome"])
    relay.answers["ehlo"] = "250-relay\r\n250 AUTH CRAM-MD5 PLAIN"
    relay.answers["auth"] = lambda _: next(answers)
    connections = with_password(relay)

    assert await connections.send(MESSAGE) == "250 2.0.0 queued"
    await connections.close()


async def test_the_envelope_and_the_hello_say_what_is_set(relay: ScriptedRelay) -> None:
    settings = Settings(
        smtp_host="127.0.0.1",
        smtp_port=relay.port,
        ehlo_name="host.example.com",
        mail_return_path="bounces@example.com",
    )
    connections = Relay(settings)

    await connections.probe()

    assert any(command.upper().startswith("EHLO HOST.EXAMPLE.COM") for command in relay.commands)
    assert any("<bounces@example.com>" in command for command in relay.commands)
