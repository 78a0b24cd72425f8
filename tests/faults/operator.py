"""What an operator asks while something is wrong, and does about it."""

import httpx

from tests.faults.world import World
from tests.support.database import rows
from tests.support.processes import Process


async def metric(service: Process, name: str) -> float:
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"{service.url}/metrics")).text
    [value] = [line.split()[-1] for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(value)


async def relay_readiness(service: Process) -> str:
    """What `/readyz` says of the relay; it must not make the service unready."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{service.url}/readyz")
    assert answer.status_code == 200
    return str(answer.json()["relay"])


async def replies(world: World, status: str) -> list[str | None]:
    """The relay's last words to each email of that status."""
    found = await rows(world.database, f"SELECT last_reply FROM outbox WHERE status = '{status}'")
    return [row["last_reply"] for row in found]


async def retry_failed(world: World) -> None:
    retry = Process(
        *("outbox", "retry", "--since", "1h"),
        folder=world.folder / "retry",
        environment={"DATABASE_URL": world.database_url, "DATA_DIR": world.folder / "data"},
    )
    await retry.start()
    assert await retry.ended() == 0, retry.log
