"""Measures all variants on all engines, round by round, so that a slow minute affects all of them."""

import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from bench import deliveries, large_outbox, signups
from bench.databases import STARTERS, Engine
from bench.measurements import Measurement, Variant
from bench.ratios import Ratio
from bench.testbed import Testbed

MEASURES: Mapping[Variant, Callable[[Testbed], Awaitable[Measurement]]] = {
    Variant.FLOOR: signups.floor,
    Variant.RELAY_AWAY: signups.relay_away,
    Variant.UNAUDITED: signups.unaudited,
    Variant.HANDING_ON: signups.handing_on,
    Variant.RELAY_HANGING: signups.relay_hanging,
    Variant.DELIVERING: signups.delivering,
    Variant.RECIPE: signups.recipe,
    Variant.POOL: partial(deliveries.pool, reply_after=deliveries.NEARBY),
    Variant.WORKER: partial(deliveries.worker, reply_after=deliveries.NEARBY),
    Variant.DISTANT_POOL: partial(deliveries.pool, reply_after=deliveries.FAR_AWAY),
    Variant.DISTANT_WORKER: partial(deliveries.worker, reply_after=deliveries.FAR_AWAY),
    Variant.FEW_FINISHED: partial(large_outbox.claims, finished=1_000),
    Variant.MANY_FINISHED: partial(large_outbox.claims, finished=1_000_000),
    Variant.FEW_WAITING: partial(large_outbox.memory, waiting=1_000),
    Variant.MANY_WAITING: partial(large_outbox.memory, waiting=100_000),
}


def needed_variants(ratios: Sequence[Ratio]) -> list[Variant]:
    wanted = {variant for ratio in ratios for variant in (ratio.above, ratio.below)}
    return [variant for variant in MEASURES if variant in wanted]


async def measure_rounds(
    engines: Sequence[Engine],
    variants: Sequence[Variant],
    *,
    rounds: int,
    seconds: float,
    folder: Path,
    announce: Callable[[str], None],
) -> AsyncGenerator[tuple[Engine, int, Variant, Measurement]]:
    """Yields one measurement after the other. `announce` gets the name of the next one."""
    async with AsyncExitStack() as stack:
        testbeds = {engine: await _testbed(engine, seconds, folder, stack) for engine in engines}
        for number in range(rounds):
            for engine, testbed in testbeds.items():
                for variant in order_of_round(variants, number):
                    announce(f"round {number + 1}, {engine}: {variant}")
                    yield engine, number, variant, await MEASURES[variant](testbed)


def order_of_round(variants: Sequence[Variant], number: int) -> Sequence[Variant]:
    """Each round begins with another variant, and each second one goes backwards, so that none always follows
    the same one."""
    first = number % len(variants)
    order = [*variants[first:], *variants[:first]]
    return order[::-1] if number % 2 else order


async def _testbed(engine: Engine, seconds: float, folder: Path, stack: AsyncExitStack) -> Testbed:
    own = Path(tempfile.mkdtemp(prefix=f"{engine}-", dir=folder))
    databases = await stack.enter_async_context(STARTERS[engine](own))
    return Testbed(databases, seconds=seconds, folder=own, kept=stack)
