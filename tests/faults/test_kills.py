"""SIGKILL, at random and at chosen stages; SIGTERM, once and twice."""

import asyncio
import random

from tests.faults.conftest import Verdict
from tests.faults.world import World


async def test_f28_killed_under_load_again_and_again(world: World, verdict: Verdict, long: bool) -> None:
    for _ in range(30 if long else 3):
        service = await world.serve()
        async with world.load(service, clients=8):
            await asyncio.sleep(random.uniform(0.5, 1.5))
            await world.kill(service)
        await world.a_minute_passes()

    await world.serve()
    await world.settled()
    await verdict(world, "F28", "the API is killed under load, again and again")
