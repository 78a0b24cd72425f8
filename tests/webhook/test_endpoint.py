"""What the endpoint is sent, and what its answers mean."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook

from service.outbox.channel import ChannelTrouble, Fault, LaterRefusal
from service.settings import Settings
from service.webhook import endpoint as module
from service.webhook.endpoint import Endpoint
from tests.support.receiver import DROP, HANG, SECRET, Answer, Receiver

OTHER_SECRET = "whsec_" + "QUFB" * 8


@pytest.fixture
async def endpoint(settings: Settings) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint(settings)
    yield endpoint
    await endpoint.close()


async def refusal(endpoint: Endpoint) -> LaterRefusal:
    with pytest.raises(LaterRefusal) as caught:
        await endpoint.post("1", b"{}")
    return caught.value


async def test_the_librarys_verification_accepts_it(endpoint: Endpoint, receiver: Receiver) -> None:
    assert await endpoint.post("4f1c", b'{"type": "ping"}') == "200 x"

    [received] = receiver.taken
    assert received.headers["webhook-id"] == "4f1c"
    assert abs(int(received.headers["webhook-timestamp"]) - time.time()) < 60
    assert received.headers["content-type"] == "application/json"
    assert received.headers["user-agent"].startswith("signup-service/")


async def test_while_a_secret_is_rotated_either_one_verifies(settings: Settings, receiver: Receiver) -> None:
    both = settings.model_copy(update={"webhook_secret": SecretStr(f"{OTHER_SECRET} {SECRET}")})
    endpoint = Endpoint(both)

    await endpoint.post("1", b"{}")

    await endpoint.close()
    [received] = receiver.taken
    for secret in (SECRET, OTHER_SECRET):
        Webhook(secret).verify(received.body, received.headers)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_every_2xx_takes_it(endpoint: Endpoint, receiver: Receiver, status: int) -> None:
    receiver.answer = status

    assert await endpoint.post("1", b"{}") == f"{status} x"


@pytest.mark.parametrize(
    ("answer", "fault", "words"),
    [
        (500, Fault.UNCLEAR, "500 x"),
        (404, Fault.UNCLEAR, "404 x"),
        ((401, {}, b"bad\r\nsignature\x00"), Fault.UNCLEAR, "401 x: bad signature"),
        (
            (302, {"Location": "/elsewhere"}, b""),
            Fault.UNCLEAR,
            "302 x: redirects are not followed: to /elsewhere",
        ),
        (429, Fault.CHANNEL, "429 x"),
        (502, Fault.CHANNEL, "502 x"),
        (503, Fault.CHANNEL, "503 x"),
        (504, Fault.CHANNEL, "504 x"),
        (DROP, Fault.CHANNEL, "broke the connection"),
        ((500, {"Content-Length": "100"}, b"half"), Fault.UNCLEAR, "500 x: half"),
    ],
)
async def test_everything_else_is_tried_again(
    endpoint: Endpoint,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    answer: Answer,
    fault: Fault,
    words: str,
) -> None:
    monkeypatch.setattr(module, "BODY_TIMEOUT", 0.1)
    receiver.answer = answer

    found = await refusal(endpoint)

    assert words in found.reason
    assert (found.fault, found.retry_after) == (fault, 0.0)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120), ("0", 0), ("soon", 0), ("-5", 0), ("٣", 3), ("9" * 30, 86_400)],
)
def test_retry_after_is_obeyed_up_to_a_day(header: str, seconds: float) -> None:
    assert module._retry_after(header) == pytest.approx(seconds, abs=60)


def test_retry_after_may_be_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True)

    assert module._retry_after(soon) == pytest.approx(600, abs=60)


async def test_the_answers_own_time_to_retry_is_kept(endpoint: Endpoint, receiver: Receiver) -> None:
    receiver.answer = 503, {"Retry-After": "120"}, b""

    assert (await refusal(endpoint)).retry_after == 120


async def test_410_ends_it_until_a_restart(endpoint: Endpoint, receiver: Receiver) -> None:
    receiver.answer = 410

    with pytest.raises(ChannelTrouble, match="none is sent until the service is restarted") as caught:
        await endpoint.post("1", b"{}")

    assert caught.value.pause == math.inf


async def test_an_endpoint_that_hangs_is_given_up(
    endpoint: Endpoint, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    receiver.answer = HANG

    found = await refusal(endpoint)

    assert "did not answer within 0.2 s" in found.reason
    assert found.fault is Fault.CHANNEL


async def test_an_answer_that_never_ends_is_its_status(
    endpoint: Endpoint, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BODY_TIMEOUT", 0.1)
    receiver.answer = 200, {"Content-Length": "1000"}, b"never"

    assert await endpoint.post("1", b"{}") == "200 x"


async def test_an_endpoint_that_is_down_is_trouble(endpoint: Endpoint, receiver: Receiver) -> None:
    await receiver.stop()

    with pytest.raises(ChannelTrouble, match=f"127.0.0.1:{receiver.port} cannot be reached"):
        await endpoint.post("1", b"{}")


async def test_a_connection_is_used_again(endpoint: Endpoint, receiver: Receiver) -> None:
    for _ in range(3):
        await endpoint.post("1", b"{}")

    assert receiver.connections == 1


async def test_a_connection_that_was_idle_for_long_is_not(
    settings: Settings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_TIMEOUT", 0.05)
    endpoint = Endpoint(settings)

    await endpoint.post("1", b"{}")
    await asyncio.sleep(0.1)
    await endpoint.post("1", b"{}")

    await endpoint.close()
    assert receiver.connections == 2


async def test_no_more_connections_are_opened_than_a_small_endpoint_bears(
    endpoint: Endpoint, receiver: Receiver
) -> None:
    receiver.delay = 0.05

    await asyncio.gather(*(endpoint.post("1", b"{}") for _ in range(20)))

    assert receiver.connections == module.CONNECTIONS


async def test_no_cookie_comes_back(settings: Settings, receiver: Receiver) -> None:
    named = settings.webhook_url.replace("127.0.0.1", "localhost")  # an IP address would get none anyway
    endpoint = Endpoint(settings.model_copy(update={"webhook_url": named}))
    receiver.answer = 200, {"Set-Cookie": "a=b"}, b"thanks"

    for _ in range(2):
        await endpoint.post("1", b"{}")

    await endpoint.close()
    assert not any("cookie" in received.headers for received in receiver.taken)
