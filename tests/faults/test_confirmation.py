"""CONFIRMATION=link: every address that was confirmed is welcome once, whatever was killed or went away."""

import asyncio
import random

import pytest

from tests.faults.recovery import quiet, ready, recovered
from tests.faults.world import Verdict, World
from tests.support.confirmation import links
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.postgres import Postgres
from tests.support.processes import Process
from tests.support.proxy import Proxy
from tests.support.receiver import Receiver

LINK = {"CONFIRMATION": "link"}


async def asked(world: World, service: Process, count: int) -> dict[str, str]:
    """So many addresses that wait to be confirmed, with the ends of their links."""
    await world.signups(service, count)
    await eventually(lambda: len(links(world.relay)) == count)
    await eventually(lambda: _none_waits(world))
    return links(world.relay)


async def click_until_answered(world: World, services: list[Process], waiting: dict[str, str]) -> None:
    """As people do: each tries the link again, wherever it leads, until there is an answer."""

    async def person(address: str, token: str) -> None:
        async def is_answered() -> bool:
            return await world.click(random.choice(services), address, token) == 200

        await eventually(is_answered, within=90)

    await asyncio.gather(*(person(address, token) for address, token in waiting.items()))


@pytest.mark.both
async def test_c1_killed_between_confirming_and_mailing(
    world: World, receiver: Receiver, verdict: Verdict, long: bool
) -> None:
    rounds = 30 if long else 2
    service = await world.serve(**LINK)
    waiting = list((await asked(world, service, 20 * rounds)).items())
    world.relay.delays["dot"] = 0.05
    for number in range(rounds):
        clicks = [
            asyncio.create_task(world.click(service, address, token))
            for address, token in waiting[number::rounds]
        ]
        await asyncio.sleep(random.uniform(0, 0.2))
        await world.kill(service)
        await asyncio.gather(*clicks)
        await world.a_minute_passes()
        service = await world.serve(**LINK)

    await click_until_answered(world, [service], dict(waiting))
    await world.settled()
    found = await verdict(world, "C1", "SIGKILL while links are used, again and again")
    assert found.confirmed == len(world.answers.clicked) == 20 * rounds


async def test_c1_killed_before_the_welcome_mail_is_claimed(world: World, verdict: Verdict) -> None:
    api, worker = await world.serve(**LINK, WORKER="false"), await world.work(**LINK)
    waiting = await asked(world, api, 5)
    await world.kill(worker)
    for address, token in waiting.items():
        await world.click(api, address, token)
    await world.kill(api)

    await world.a_minute_passes()
    await world.serve(**LINK)
    await world.settled()
    found = await verdict(world, "C1", "killed after links were used, before the welcome mails are claimed")
    assert (len(world.answers.clicked), found.duplicates) == (5, 0)


@pytest.mark.both
async def test_c2_two_clicks_over_two_processes(
    world: World, receiver: Receiver, verdict: Verdict, long: bool
) -> None:
    one, two = await world.serve(**LINK), await world.serve(**LINK)
    waiting = await asked(world, one, 300 if long else 20)

    statuses = await asyncio.gather(
        *(
            world.click(service, address, token)
            for address, token in waiting.items()
            for service in (one, two, one)
        )
    )

    assert set(statuses) == {200}
    await world.settled()
    found = await verdict(world, "C2", "every link is used three times at once, over two processes")
    assert found.duplicates == 0
    owed = "SELECT user_id FROM outbox WHERE kind = 'welcome'"
    assert len(await rows(world.database, owed)) == len(waiting)


@pytest.mark.parametrize("arrived", [True, False])
async def test_c3_the_end_of_the_commit_of_a_click_is_lost(
    proxied: tuple[World, Proxy], arrived: bool, verdict: Verdict, long: bool
) -> None:
    world, proxy = proxied
    service = await world.serve(**LINK)
    [(address, token)] = (await asked(world, service, 1)).items()
    await world.settled()  # so that the next commit is the click's
    cut: list[bytes] = []

    def lose_commit(to_server: bool, piece: bytes) -> bool:
        """The commit that follows the update of the user, or its answer."""
        if to_server and b"UPDATE users SET confirmed_at" in piece:
            cut.append(piece)
        return bool(cut) and to_server is not arrived and b"COMMIT" in piece

    proxy.cut_when = lose_commit
    assert await world.click(service, address, token) == 503
    proxy.cut_when = None
    [user] = await rows(world.database, "SELECT confirmed_at FROM users")
    assert bool(user["confirmed_at"]) == arrived

    await click_until_answered(world, [service], {address: token})

    await quiet(world, service, long=long)
    what = "the answer to the commit of a click" if arrived else "the commit of a click"
    found = await verdict(world, "C3", f"{what} is lost; the person tries again")
    assert found.duplicates == 0


@pytest.mark.long
async def test_c4_the_database_is_away_while_links_are_used(
    proxied: tuple[World, Proxy], postgres: Postgres, verdict: Verdict, long: bool
) -> None:
    world, _ = proxied
    service = await world.serve(**LINK)
    waiting = await asked(world, service, 100)
    clicking = asyncio.create_task(click_until_answered(world, [service], waiting))
    for _ in range(3):
        await asyncio.to_thread(postgres.stop)
        assert await ready(service) == 503
        await asyncio.to_thread(postgres.start)
        await recovered(world, service)

    await clicking
    await quiet(world, service, long=long)
    await verdict(world, "C4", "PostgreSQL is stopped and started while links are used")


async def _none_waits(world: World) -> bool:
    return not await rows(world.database, "SELECT id FROM outbox WHERE status = 'pending'")
