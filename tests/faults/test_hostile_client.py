"""One client whose signups are never taken, by malice or not: everybody else's mail goes on."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest

from tests.faults.operator import replies
from tests.faults.world import Verdict, World
from tests.support.database import rows
from tests.support.eventually import eventually
from tests.support.processes import Process
from tests.support.relay import DROP, Envelope

PACE = 0.5  # s from one honest signup to the next
FASTER = 0.2  # s, the same in `make test`, where an attack is shorter
ATTACKED = "attacked.example.com"
HONEST = ("example.com", "example.net", "example.org")
MAX_WAIT = 5.0  # s, for 95 of 100
AFTER = 10.0  # s, for all of them once the attack is over
BUSY = 3  # times as long, in `make test`, which may not have the machine to itself
SOON = 45.0  # s, until the refused have failed


@pytest.fixture
def constants() -> Mapping[str, object]:
    """The real ones: that honest mail does not wait for these pauses is what is tested."""
    return {}


class Attack:
    """`refuse` answers RCPT for the attacked domain; honest mails note when they came."""

    def __init__(self, world: World, refuse: str, *, long: bool) -> None:
        self._world = world
        self._patience = 1 if long else BUSY
        self._asked: dict[str, float] = {}
        self.waits: dict[str, float] = {}

        def rcpt(envelope: Envelope) -> str:
            return refuse if envelope.recipient.startswith("nobody") else "250 ok"

        world.relay.answers |= {"rcpt": rcpt, "dot": self.note}

    def note(self, envelope: Envelope) -> str:
        if asked := self._asked.get(envelope.recipient):
            self.waits[envelope.recipient] = time.monotonic() - asked
        return "250 queued"

    async def honest(
        self, service: Process, count: int, *, pause: float = PACE, domains: tuple[str, ...] = HONEST
    ) -> None:
        """Signups at an even pace, none of which waits for another."""

        async def sign_up(number: int) -> None:
            domain = domains[number % len(domains)]
            self._asked[f"honest{number}@{domain}"] = time.monotonic()
            assert await self._world.signup(service, name=f"honest{number}", domain=domain) == 201

        async with asyncio.TaskGroup() as group:
            begun = len(self._asked)
            for number in range(begun, begun + count):
                group.create_task(sign_up(number))
                await asyncio.sleep(pause)

    async def all_came(self) -> None:
        await eventually(lambda: len(self.waits) == len(self._asked), within=AFTER * self._patience)

    def figures(self) -> str:
        waits = sorted(self.waits.values())
        median, most = waits[len(waits) // 2], waits[int(0.95 * (len(waits) - 1))]
        assert most <= MAX_WAIT * self._patience, waits
        return f"honest mail waits {median:.2f} s, 95 of 100 {most:.2f} s, all {waits[-1]:.2f} s"


Hostile = Callable[[World, Process, int], Coroutine[Any, Any, int]]


def at_one_domain(world: World, service: Process, number: int) -> Coroutine[Any, Any, int]:
    return world.signup(service, name=f"nobody{number}", domain=ATTACKED)


def at_many_domains(world: World, service: Process, number: int) -> Coroutine[Any, Any, int]:
    return world.signup(service, name=f"nobody{number}", domain=f"d{number}.{ATTACKED}")


async def three_times(world: World, service: Process, number: int) -> int:
    return await at_one_domain(world, service, number) if number < 3 else 201


ATTACKS = [
    ("550 5.1.1 unknown users of one domain", "550 5.1.1 User unknown", at_one_domain),
    ("550 unknown users of one domain", "550 no such user", at_one_domain),
    ("550 many domains that do not exist", "550 no such domain", at_many_domains),
    ("554 5.7.1 three addresses", "554 5.7.1 not this one", three_times),
]


@pytest.mark.parametrize(("what", "reply", "hostile"), ATTACKS)
async def test_f74_a_client_whose_signups_are_refused_keeps_nobody_waiting(
    world: World, verdict: Verdict, long: bool, what: str, reply: str, hostile: Hostile
) -> None:
    seconds, pace = (180, PACE) if long else (3, FASTER)
    attack = Attack(world, reply, long=long)
    service = await world.serve()

    async with asyncio.TaskGroup() as group:
        group.create_task(attack.honest(service, round(seconds / pace), pause=pace))
        for number in range(8 * seconds):
            group.create_task(hostile(world, service, number))
            await asyncio.sleep(1 / 8)

    await attack.all_came()
    await attack.honest(service, 3, pause=pace)  # which shows that the relay works, for what was refused last
    await world.settled(within=SOON)
    assert set(await replies(world, "failed")) == {reply}
    await verdict(world, "F74", f"{what}, 8 a second for {seconds} s: {attack.figures()}")


async def test_f74_honest_mail_to_the_attacked_domain_goes_out_too(
    world: World, verdict: Verdict, long: bool
) -> None:
    attack = Attack(world, "550 no such user", long=long)
    service = await world.serve()
    async with asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(at_one_domain(world, service, number))

    async with asyncio.TaskGroup() as group:
        group.create_task(attack.honest(service, 5, pause=0.1, domains=(ATTACKED,)))

    await attack.all_came()
    await world.settled(within=SOON)
    await verdict(world, "F74", f"550 unknown users and honest ones of one domain: {attack.figures()}")


@pytest.mark.long
@pytest.mark.parametrize("recipients", [1, 30])
async def test_f97_recipients_about_whom_the_relay_thinks_long_keep_nobody_waiting(
    world: World, verdict: Verdict, long: bool, recipients: int
) -> None:
    async def think(stage: str, envelope: Envelope) -> None:
        if stage == "rcpt" and envelope.recipient.startswith("nobody"):
            await asyncio.sleep(35)

    attack = Attack(world, "250 ok", long=long)
    world.relay.on_stage = think
    service = await world.serve()
    await attack.honest(service, 3)

    async with asyncio.TaskGroup() as group:
        for number in range(recipients):
            group.create_task(world.signup(service, name=f"nobody{number}"))
        group.create_task(attack.honest(service, 180))

    await attack.all_came()
    found = attack.figures()
    await world.settled(within=600)
    await verdict(world, "F97", f"{recipients} whom the relay thinks about for 35 s: {found}")


@pytest.mark.both
@pytest.mark.parametrize("recipients", [1, 30])
@pytest.mark.parametrize(
    ("what", "answer"), [("always refuses with 5.7.1", "550 5.7.1 policy"), ("hangs up on", DROP)]
)
async def test_f97_recipients_whom_the_relay_never_takes_keep_nobody_waiting(
    world: World, verdict: Verdict, long: bool, recipients: int, what: str, answer: str
) -> None:
    seconds, pace = (90, PACE) if long else (2, FASTER)
    attack = Attack(world, answer, long=long)
    service = await world.serve()

    async with asyncio.TaskGroup() as group:
        for number in range(recipients):
            group.create_task(world.signup(service, name=f"nobody{number}"))
        group.create_task(attack.honest(service, round(seconds / pace), pause=pace))

    await attack.all_came()
    assert service.log.count('"relay.paused"') <= 1

    async def only_they_wait() -> bool:
        waiting = await rows(world.database, "SELECT id FROM outbox WHERE status = 'pending'")
        return len(waiting) == recipients

    if answer == DROP:
        await eventually(only_they_wait)  # all others have come, and are recorded as sent
    else:
        await world.settled(within=SOON)
    found = attack.figures()
    async with world.database.transaction() as connection:
        await connection.exec_driver_sql("UPDATE outbox SET status = 'failed' WHERE status = 'pending'")
    assert len(await rows(world.database, "SELECT id FROM outbox WHERE status = 'failed'")) == recipients
    await world.settled()  # the audit too
    await verdict(world, "F97", f"{recipients} whom the relay {what}: {found}")
