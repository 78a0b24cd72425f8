"""Standard error cannot be written: what the service does not say decides nothing."""

import signal

import pytest

from tests.faults.operator import relay_readiness
from tests.faults.world import Verdict, World
from tests.support.eventually import eventually
from tests.support.processes import Process
from tests.support.unwritable import UNWRITABLE, Unwritable


@UNWRITABLE
@pytest.mark.both
async def test_f87_without_a_log_each_mail_is_sent_once_and_recorded(
    world: World, verdict: Verdict, standard_error: Unwritable
) -> None:
    with standard_error() as stderr:
        service = await world.serve(stderr=stderr, LOG_LEVEL="debug")
        await world.relay.stop()
        await world.signups(service, 8)
        await eventually(lambda: is_paused(service))

        await world.relay.start()

        await world.settled()
        assert await relay_readiness(service) == "ok"
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
    assert set(world.relay.recipients.values()) == {1}
    what = standard_error.__name__.replace("_", " ")
    await verdict(world, "F87", f"standard error is {what}, while the relay goes and comes back")


async def is_paused(service: Process) -> bool:
    return (await relay_readiness(service)).startswith("paused")
