"""The parts of the bench: a figure is only as good as what measures it."""

import asyncio
import os
import shutil
import time
from itertools import pairwise
from pathlib import Path
from typing import cast
from xml.etree import ElementTree

import httpx
import pytest
from aiosmtplib import SMTP

from bench import load_generator as generator
from bench.chart import draw_chart
from bench.databases import Engine
from bench.floor import app as floor
from bench.load import CLIENTS
from bench.measurements import Measurement, Variant
from bench.processes import load, run_module
from bench.ratios import RATIOS, Result
from bench.report import Report
from bench.rounds import MEASURES, needed_variants, order_of_round
from bench.smtp_sink import Counter
from service.database.engine import Database
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.ports import free_port

SIGNUP = {"email": "ada@example.com", "name": "Ada"}
MAIL = b"Subject: Welcome\r\n\r\nHello\r\n..dot\r\n"


@pytest.fixture(params=["wrk", "bench.load"])
def load_generator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "bench.load":
        monkeypatch.setenv("PATH", os.devnull)
    elif not shutil.which("wrk"):
        pytest.skip("there is no wrk here")
    return str(request.param)


class Slow(asyncio.Protocol):
    """A server that accepts every third signup, refuses the next, and disconnects on the third."""

    def __init__(self, bodies: list[bytes]) -> None:
        self._bodies = bodies

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if body := data.partition(b"\r\n\r\n")[2]:
            self._bodies.append(body)
            asyncio.get_running_loop().call_later(0.02, self._answer, body, len(self._bodies) % 3)

    def _answer(self, body: bytes, remainder: int) -> None:
        if remainder == 0:
            self._transport.abort()
            return
        status = b"201 Created" if remainder == 1 else b"409 Conflict"
        self._transport.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))


async def test_load_waits_for_every_answer_and_never_repeats_an_address(
    load_generator: str, tmp_path: Path
) -> None:
    bodies: list[bytes] = []
    port = free_port()
    server = await asyncio.get_running_loop().create_server(lambda: Slow(bodies), "127.0.0.1", port)
    before = time.monotonic()
    answers = await load(port, seconds=0.2, folder=tmp_path)
    server.close()

    assert len(bodies) == len(set(bodies)) > CLIENTS
    assert answers.statuses == {"201": (len(bodies) + 2) // 3, "409": (len(bodies) + 1) // 3}
    assert answers.broken == len(bodies) // 3
    assert len(answers.seconds) == answers.created
    assert 0.02 <= min(answers.seconds) <= max(answers.seconds) < answers.ended - answers.began
    assert before < answers.began < answers.ended < time.monotonic()
    assert load_generator in generator.name()


async def test_sink_counts_the_mails_it_took(tmp_path: Path) -> None:
    port, counter = free_port(), Counter(tmp_path / "count")
    async with run_module("bench.smtp_sink", port, tmp_path / "count", folder=tmp_path, port=port) as sink:
        await sink.wait_until_accepting()
        async with SMTP(hostname="127.0.0.1", port=port) as connection:
            for _ in range(3):
                await connection.sendmail("welcome@example.com", ["ada@example.com"], MAIL)

        assert counter.value == 3


async def test_floor_answers_as_the_service_does(client: httpx.AsyncClient) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(floor), base_url="http://test") as bare:
        answers = [await one.post("/signup", json=SIGNUP) for one in (client, bare)]

    assert {answer.status_code for answer in answers} == {201}
    assert [[*answer.json()] for answer in answers] == [
        ["id", "email", "name", "created_at", "welcome_email"]
    ] * 2


async def test_recipe_does_the_whole_job(database_url: str, database: Database, tmp_path: Path) -> None:
    sink_port, port, counter = free_port(), free_port(), Counter(tmp_path / "count")
    environment = {"DATABASE_URL": database_url, "SMTP_PORT": sink_port}
    command = ("uvicorn", "bench.recipe:app", "--port", port)
    async with (
        run_module("bench.smtp_sink", sink_port, tmp_path / "count", folder=tmp_path, port=sink_port) as sink,
        run_module(*command, folder=tmp_path, port=port, environment=environment) as recipe,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        await sink.wait_until_accepting()
        await recipe.wait_until_answering()
        statuses = [(await client.post("/signup", json=SIGNUP)).status_code for _ in range(2)]

        async def done() -> bool:
            found = await rows(database, "SELECT status FROM recipe_audit WHERE method = 'POST' ORDER BY id")
            return [row["status"] for row in found] == statuses and counter.value == 1

        assert statuses == [201, 409]
        await eventually(done)


def test_every_variant_is_measured_and_every_ratio_has_its_variants() -> None:
    assert set(needed_variants(RATIOS)) == set(MEASURES) == set(Variant)


def test_each_round_measures_every_variant_after_another_one() -> None:
    rounds = [order_of_round([*Variant], number) for number in range(2)]
    pairs = [set(pairwise(order)) for order in rounds]

    assert all(sorted(order) == sorted(Variant) for order in rounds)
    assert not pairs[0] & pairs[1]


@pytest.mark.parametrize(("at_least", "value", "met"), [(True, 2, True), (True, 1, False), (False, 2, False)])
def test_promise_is_kept_on_its_own_side_of_the_limit(at_least: bool, value: float, met: bool) -> None:
    ratio = next(one for one in RATIOS if one.at_least is at_least)
    limit = ratio.limits[Engine.SQLITE]

    assert Result(ratio, Engine.SQLITE, [0, value * limit * 0.9, 9 * limit]).is_met is met


def test_picture_and_table_show_every_ratio() -> None:
    measurement = Measurement(rate=1000, p50=0.01, p99=0.02, memory=1e8)
    rounds = {engine: [dict.fromkeys(Variant, measurement)] * 3 for engine in Engine}
    report = Report(ratios=RATIOS, rounds=rounds, machine={"processor": "<two> & cores"}, seconds=5)

    words = [*ElementTree.fromstring(draw_chart(report.results, caption="<two> & cores")).itertext()]  # noqa: S314  # our own
    table = report.markdown()

    assert "<two> & cores" in words
    for ratio in RATIOS:
        assert ratio.title in words
        assert ratio.title in table
