"""SIGKILL while the other end holds the process at each stage of a delivery."""

import asyncio
import signal
import sqlite3
from contextlib import closing

import pytest

from service.settings import Settings
from tests.faults.world import Verdict, World
from tests.support.eventually import eventually
from tests.support.proxy import Proxy
from tests.support.relay import HANG, Envelope

RECORDING = 0.3  # s, for the process to be in the middle of it


async def mailed_by_another(world: World) -> set[int]:
    """How often each mail came in the end, when another process has found it a minute later."""
    await world.a_minute_passes()
    await world.serve()
    await world.settled()
    return set(world.relay.recipients.values())


async def test_f29_killed_before_the_claim_the_mail_comes_once(world: World, verdict: Verdict) -> None:
    service = await world.serve(WORKER="false")
    await world.signups(service, 5)
    await world.kill(service)

    assert await mailed_by_another(world) == {1}

    await verdict(world, "F29", "killed before the claim")


async def test_f29_killed_after_a_worker_has_claimed_the_mail_comes_once(
    world: World, verdict: Verdict
) -> None:
    world.relay.answers["greeting"] = HANG
    api = await world.serve(WORKER="false")
    await world.signups(api, 5)
    worker = await world.work()
    await eventually(lambda: world.relay.stages["greeting"] == 5)
    await world.kill(worker)
    await world.kill(api)
    del world.relay.answers["greeting"]

    assert await mailed_by_another(world) == {1}

    await verdict(world, "F29", "a worker is killed after the claim")


@pytest.mark.parametrize(
    "stage",
    [
        *(pytest.param(stage, marks=pytest.mark.long) for stage in ("greeting", "ehlo", "mail", "rcpt")),
        "data",
    ],
)
async def test_f29_killed_before_the_content_the_mail_comes_once(
    world: World, verdict: Verdict, stage: str
) -> None:
    world.relay.answers[stage] = HANG
    service = await world.serve()
    await world.signups(service, 5)
    await eventually(lambda: world.relay.stages[stage] == 5)
    await world.kill(service)
    del world.relay.answers[stage]

    assert await mailed_by_another(world) == {1}

    await verdict(world, "F29", f"killed before the answer to {stage}")


async def test_f29_killed_with_the_content_on_its_way_the_mail_comes_once(
    world: World, wire: Proxy, verdict: Verdict
) -> None:
    service = await world.serve(SMTP_PORT=wire.port)

    def kill_at_content(to_server: bool, piece: bytes) -> bool:
        if is_content := to_server and b"Subject:" in piece:
            service.signal(signal.SIGKILL)
        return is_content

    wire.cut_when = kill_at_content
    await world.signup(service)
    await eventually(lambda: wire.cuts)
    await world.kill(service)
    assert world.relay.stages["dot"] == 0

    assert await mailed_by_another(world) == {1}

    await verdict(world, "F29", "killed with the content on its way")


async def test_f29_killed_between_the_dot_and_its_answer_the_mail_may_come_twice(
    world: World, verdict: Verdict
) -> None:
    killed = asyncio.Event()

    async def hold_the_answer(stage: str, _: Envelope) -> None:
        if stage == "dot":
            await killed.wait()

    world.relay.on_stage = hold_the_answer
    service = await world.serve()
    await world.signups(service, 5)
    await eventually(lambda: world.relay.stages["dot"] == 5)
    await world.kill(service)
    killed.set()
    await eventually(lambda: len(world.relay.accepted) == 5)

    assert await mailed_by_another(world) == {2}

    await verdict(world, "F29", "killed between the dot and its answer")


async def test_f29_killed_before_sent_is_committed_the_mail_may_come_twice(
    proxied: tuple[World, Proxy], verdict: Verdict
) -> None:
    world, proxy = proxied
    service = await world.serve()

    async def hold_the_database(stage: str, _: Envelope) -> None:
        if stage == "dot":
            proxy.flowing.clear()

    world.relay.on_stage = hold_the_database
    await world.signup(service)
    await eventually(lambda: world.relay.accepted)
    await asyncio.sleep(RECORDING)
    await world.kill(service)
    world.relay.on_stage = None
    proxy.reset()
    proxy.flowing.set()

    assert await mailed_by_another(world) == {2}

    await verdict(world, "F29", "killed before `sent` is committed")


@pytest.mark.both
@pytest.mark.parametrize("engine_name", ["sqlite"])
async def test_f29_killed_before_sent_is_committed_to_a_file_the_mail_may_come_twice(
    world: World, settings: Settings, verdict: Verdict
) -> None:
    service = await world.serve()
    with closing(sqlite3.connect(settings.sqlite_file, isolation_level=None)) as holder:

        async def hold_the_database(stage: str, _: Envelope) -> None:
            if stage == "dot":
                holder.execute("BEGIN IMMEDIATE")

        world.relay.on_stage = hold_the_database
        await world.signup(service)
        await eventually(lambda: world.relay.accepted)
        await asyncio.sleep(RECORDING)
        await world.kill(service)
        world.relay.on_stage = None

    assert await mailed_by_another(world) == {2}

    await verdict(world, "F29", "killed before `sent` is committed")


async def test_f29_killed_after_it_all_the_mail_came_once(world: World, verdict: Verdict) -> None:
    service = await world.serve()
    await world.signups(service, 5)
    await world.settled()
    await world.kill(service)

    assert await mailed_by_another(world) == {1}

    await verdict(world, "F29", "killed after `sent` is committed")
