"""`check` posts a ping to the endpoint."""

import asyncio
from pathlib import Path

import pytest

from tests.support.commands import run
from tests.support.receiver import SECRET, Answer, Receiver
from tests.support.relay import ScriptedRelay


@pytest.mark.parametrize(
    ("answer", "verdict", "said"),
    [
        (200, "ok", ""),
        (
            (401, {}, b"who are you"),
            "NOT ok",
            'does not take a ping: "401 x: who are you". Check WEBHOOK_URL',
        ),
        (410, "NOT ok", "wants no events (410 x)"),
    ],
)
async def test_check_posts_a_ping(
    relay: ScriptedRelay, receiver: Receiver, tmp_path: Path, answer: Answer, verdict: str, said: str
) -> None:
    receiver.answer = answer
    ports = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": relay.port}

    checked = await asyncio.to_thread(
        run, "check", folder=tmp_path, WEBHOOK_URL=receiver.url, WEBHOOK_SECRET=SECRET, **ports
    )

    assert checked.stdout.splitlines()[-1] == f"webhook   {verdict}"
    assert said in checked.stderr
    [received] = receiver.requests
    assert (received.event["type"], received.event["data"]) == ("ping", {})
