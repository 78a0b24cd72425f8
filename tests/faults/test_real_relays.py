"""Debian's Postfix and Exim as the relay. Runs in `make relays`, as root on Debian."""

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.operator import metric, replies
from tests.faults.world import Verdict, World
from tests.support.eventually import eventually
from tests.support.mail_servers import UNKNOWN, Exim, MailServer, Postfix, unpack

pytestmark = pytest.mark.skipif("REAL_RELAYS" not in os.environ, reason="make relays")

MAILS, UNKNOWN_USERS = 200, 20


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """Where the packages are unpacked: open to the servers' users."""
    with tempfile.TemporaryDirectory(prefix="signup-relays-") as folder:
        unpack(Path(folder))
        yield Path(folder) / "root"


@pytest.mark.parametrize("connections", [50, 2])
@pytest.mark.parametrize("kind", [Postfix, Exim])
async def test_f103_every_mail_goes_through_without_a_pause(
    world: World, root: Path, verdict: Verdict, kind: type[MailServer], connections: int
) -> None:
    with tempfile.TemporaryDirectory(prefix="signup-relay-") as folder:
        server = kind(root, Path(folder), onward=world.relay.port, connections=connections)
        await asyncio.to_thread(server.start)
        try:
            service = await world.serve(SMTP_PORT=server.port)
            begun = time.monotonic()

            await world.signups(service, MAILS - UNKNOWN_USERS)
            for number in range(UNKNOWN_USERS):
                await world.signup(service, name=f"{UNKNOWN}{number}")
            await world.signups(service, UNKNOWN_USERS)

            await eventually(lambda: len(world.relay.accepted) == MAILS, within=60)
            seconds = time.monotonic() - begun
            await world.settled()
        finally:
            await asyncio.to_thread(server.stop)
    assert set(world.relay.recipients.values()) == {1}
    assert len(await replies(world, "failed")) == UNKNOWN_USERS
    assert '"relay.paused"' not in service.log
    assert await metric(service, "relay_paused") == 0
    assert ('"relay.connections_limited"' in service.log) == (connections == 2)
    await verdict(
        world,
        "F103",
        f"{MAILS} mails through {kind.__name__} with {connections} connections: {seconds:.0f} s",
    )
