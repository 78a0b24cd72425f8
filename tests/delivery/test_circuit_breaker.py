"""How many deliveries the relay is given at once."""

import asyncio
import math
from contextlib import AsyncExitStack

import pytest
from structlog.testing import capture_logs

from service.delivery.circuit_breaker import CircuitBreaker, Paused
from service.observability.metrics import Metrics
from tests.support.clock import Clock


@pytest.fixture(autouse=True)
def _pauses_are_as_long_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.delivery.circuit_breaker.FIRST_PAUSE", 1.0)


@pytest.fixture
def breaker(metrics: Metrics) -> CircuitBreaker:
    return CircuitBreaker(10, metrics.mail)


async def test_a_healthy_relay_is_given_all_connections(breaker: CircuitBreaker) -> None:
    assert breaker.allowed == 10


async def test_trouble_pauses_and_then_allows_one(breaker: CircuitBreaker, clock: Clock) -> None:
    breaker.pause("421 closing")

    assert breaker.allowed == 0
    assert breaker.trouble == "421 closing"

    clock.now += 1
    assert breaker.allowed == 1


async def test_each_message_taken_doubles_what_is_allowed(breaker: CircuitBreaker, clock: Clock) -> None:
    breaker.pause("down")
    clock.now += 1

    seen = []
    for _ in range(5):
        breaker.record_success()
        seen.append(breaker.allowed)

    assert seen == [2, 4, 8, 10, 10]
    assert breaker.trouble is None


async def test_pauses_grow_up_to_a_minute(breaker: CircuitBreaker, clock: Clock) -> None:
    lengths = []
    for _ in range(12):
        breaker.pause("down")
        lengths.append(breaker.pause_seconds)
        clock.now += breaker.pause_seconds

    assert 0.5 <= lengths[0] <= 1
    assert 30 <= lengths[-1] <= 60
    assert max(lengths) <= 60


async def test_pauses_stay_as_long_through_an_outage_of_days(breaker: CircuitBreaker, clock: Clock) -> None:
    for _ in range(5 * 24 * 60):
        breaker.pause("down")
        assert 0 < breaker.pause_seconds <= 60
        clock.now += breaker.pause_seconds

    breaker.pause("still down")
    assert breaker.pause_seconds >= 30


async def test_those_that_fail_together_count_as_one(breaker: CircuitBreaker, clock: Clock) -> None:
    for _ in range(10):
        breaker.pause("down")

    assert breaker.pause_seconds <= 1


async def test_a_message_taken_ends_the_row_of_pauses(breaker: CircuitBreaker, clock: Clock) -> None:
    for _ in range(8):
        breaker.pause("down")
        clock.now += breaker.pause_seconds
    breaker.record_success()

    breaker.pause("down again")

    assert breaker.pause_seconds <= 1


async def test_a_message_taken_ends_the_pause(breaker: CircuitBreaker, clock: Clock) -> None:
    breaker.pause("down")

    breaker.record_success()  # of a delivery that was under way

    assert breaker.allowed == 2


async def test_places_are_given_in_the_order_of_asking(metrics: Metrics) -> None:
    breaker = CircuitBreaker(1, metrics.mail)
    order: list[int] = []

    async def deliver(number: int) -> None:
        async with breaker.place():
            await asyncio.sleep(0)
            order.append(number)

    await asyncio.gather(*(deliver(number) for number in range(5)))

    assert order == [0, 1, 2, 3, 4]


async def test_no_more_than_allowed_are_inside(breaker: CircuitBreaker) -> None:
    inside = most = 0

    async def deliver() -> None:
        nonlocal inside, most
        async with breaker.place():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= 1

    await asyncio.gather(*(deliver() for _ in range(50)))

    assert most == 10


@pytest.mark.parametrize("end", ["pause", "close"])
async def test_those_who_wait_are_turned_away(metrics: Metrics, end: str) -> None:
    breaker = CircuitBreaker(1, metrics.mail)
    async with breaker.place():
        waiting = asyncio.create_task(_enter(breaker))
        await asyncio.sleep(0)

        breaker.pause("down") if end == "pause" else breaker.close()

        with pytest.raises(Paused):
            await waiting


async def test_whoever_leaves_the_line_takes_no_place_with_him(metrics: Metrics) -> None:
    breaker = CircuitBreaker(1, metrics.mail)
    async with breaker.place():
        waiting = asyncio.create_task(_enter(breaker))
        await asyncio.sleep(0)
        waiting.cancel()

    async with asyncio.timeout(30):
        await _enter(breaker)


async def _enter(breaker: CircuitBreaker) -> None:
    async with breaker.place():
        pass


async def test_the_relays_words_are_repeated_without_addresses(breaker: CircuitBreaker) -> None:
    breaker.pause("554 5.7.1 <ada@example.com>: Relay access denied")

    assert breaker.trouble == "554 5.7.1 <…>: Relay access denied"


async def test_in_doubt_one_delivery_follows_another_until_one_is_taken(breaker: CircuitBreaker) -> None:
    breaker.doubt("550 5.7.1 no")

    assert breaker.allowed == 1
    assert breaker.trouble == "550 5.7.1 no"

    breaker.record_success()
    assert breaker.allowed == 10
    assert breaker.trouble is None


async def test_those_that_began_before_the_doubt_keep_nobody_waiting(breaker: CircuitBreaker) -> None:
    async with breaker.place(), breaker.place():
        breaker.doubt("550 5.7.1 no")

        for _ in range(3):
            async with breaker.place():
                assert breaker.allowed == 3
    assert breaker.allowed == 1


async def test_doubt_is_reported_once_and_only_if_it_lasts(breaker: CircuitBreaker, clock: Clock) -> None:
    with capture_logs() as lines:
        breaker.doubt("550 no")
        clock.now += 4
        breaker.doubt("550 no")
        breaker.record_success()
        assert lines == []

        for _ in range(5):
            breaker.doubt("550 no")
            clock.now += 4
        breaker.record_success()

    assert [line["event"] for line in lines] == ["relay.paused", "relay.recovered"]


async def test_a_relay_that_takes_two_connections_is_given_two_and_asked_for_more_a_minute_later(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    with capture_logs() as lines:
        for minute in range(3):
            await _settle_at(breaker, 2)
            breaker.record_success()
            assert breaker.allowed == 2, minute

            clock.now += 60
            for _ in range(3):
                breaker.record_success()
            assert breaker.allowed == 10

    assert [(line["event"], line["reason"]) for line in lines] == [
        ("relay.connections_limited", "421 too many")
    ]
    assert breaker.trouble is None


async def _settle_at(breaker: CircuitBreaker, connections: int) -> None:
    """As deliveries do that find the relay full, each of which asks for a place again."""
    async with AsyncExitStack() as stack:
        for _ in range(connections):
            await stack.enter_async_context(breaker.place())
        for others in range(10 - connections, 0, -1):
            async with AsyncExitStack() as more:
                for _ in range(others):
                    await more.enter_async_context(breaker.place())
                breaker.limit_connections(connections + others - 1, "421 too many")


def test_a_pause_until_the_process_ends_outlives_what_began_before_it(breaker: CircuitBreaker) -> None:
    breaker.pause("gone", at_least=math.inf)

    breaker.record_success()

    assert breaker.allowed == 0
    assert breaker.trouble == "gone"
