"""What the receiver of events saw: each confirmed signup, under one id, whatever was killed or went wrong."""

import asyncio
import random
import time

import pytest

from tests.faults.world import Verdict, World
from tests.support.eventually import eventually
from tests.support.receiver import DROP, HANG, Answer, Received, Receiver
from tests.support.relay import HANG as RELAY_HANG


@pytest.mark.both
async def test_e1_killed_under_load_again_and_again(
    world: World, receiver: Receiver, verdict: Verdict, long: bool
) -> None:
    for _ in range(30 if long else 2):
        service = await world.serve()
        async with world.load(service, clients=8):
            await asyncio.sleep(random.uniform(0.5, 1.5))
            await world.kill(service)
        await world.a_minute_passes()

    await world.serve()
    await world.settled()
    found = await verdict(world, "E1", "SIGKILL of the API under load, with events")
    assert found.confirmed
    assert receiver.counts


LIES: list[Answer] = [500, 404, 302, (429, {"Retry-After": "1"}, b""), DROP]


@pytest.mark.both
async def test_e2_a_receiver_that_is_down_hanging_slow_lying_and_lossy_in_turn(
    world: World, receiver: Receiver, verdict: Verdict, long: bool
) -> None:
    def lie(received: Received) -> Answer:
        """Half of them it takes, and says that it did not."""
        if random.random() < 0.5:
            return 200
        receiver.taken.append(received)
        return random.choice(LIES)

    service = await world.serve()
    at_once = 200 if long else 20
    for state in ("down", "hanging", "slow", "lying", "up"):
        if state == "down":
            await receiver.stop()
        elif state == "hanging":
            await receiver.start()
        receiver.answer = HANG if state == "hanging" else lie if state == "lying" else 200
        receiver.delay = 0.5 if state == "slow" else 0.0
        await world.signups(service, at_once)
        mailed = len(world.answers.confirmed)
        # Mails do not wait for events.
        await eventually(lambda: len(world.relay.recipients) == mailed, within=10)  # noqa: B023  # this state's
        await asyncio.sleep(20 if long else 0.3)
        if state == "hanging":  # a restart of the receiver
            await receiver.stop()
            await receiver.start()

    assert set(world.answers.statuses) == {201}
    await eventually(lambda: len(receiver.events("user.created")) == 5 * at_once, within=60)
    # An event that happens to be refused four times waits for up to five minutes.
    await world.settled(within=400 if long else 90)
    found = await verdict(world, "E2", "the receiver down, hanging, slow, lying and lossy")
    assert found.duplicates == 0


async def test_e3_events_do_not_wait_for_a_relay_that_hangs(
    world: World, receiver: Receiver, verdict: Verdict
) -> None:
    world.relay.answers["greeting"] = RELAY_HANG
    service = await world.serve()
    begun = time.monotonic()

    await world.signups(service, 40)

    await eventually(lambda: len(receiver.events("user.created")) == 40, within=10)
    assert time.monotonic() - begun < 10
    world.relay.answers.clear()
    await world.kill(service)
    await world.a_minute_passes()
    await world.serve()
    await world.settled()
    await verdict(world, "E3", "the relay hangs, and events do not wait for it")
