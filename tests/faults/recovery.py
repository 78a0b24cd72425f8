"""How a service comes back after its database did."""

from tests.faults.world import World, http_client
from tests.support.eventually import eventually
from tests.support.processes import Process

MAX_WAIT = 2.5  # s until a client has its 503


async def ready(service: Process) -> int:
    async with http_client() as client:
        return (await client.get(f"{service.url}/readyz")).status_code


async def signs_up(world: World, service: Process) -> bool:
    return await world.signup(service) == 201


async def recovered(world: World, service: Process) -> None:
    """Without a restart."""
    await eventually(lambda: signs_up(world, service), within=20)


def in_time(world: World, *, long: bool) -> bool:
    """Every answer. Only `make faults` has the machine to itself."""
    return world.answers.percentile(1) < (MAX_WAIT if long else 2 * MAX_WAIT)


async def quiet(world: World, service: Process, *, long: bool) -> None:
    """A signup whose COMMIT went unanswered has an email that nobody holds: it comes a minute later."""
    if not long:
        # In this order: the worker may not have claimed yet what signed up while it could not.
        await world.all_claimed()
        await eventually(lambda: _is_empty_handed(service), within=30)
        await world.end_leases()
    await world.settled()


async def _is_empty_handed(service: Process) -> bool:
    async with http_client() as client:
        return "\nwelcome_emails_in_hand 0.0" in (await client.get(f"{service.url}/metrics")).text
