"""All variants of all engines, round by round, so that a slow minute of the machine hits all alike."""

import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from bench import growth, mails, signups
from bench.databases import STARTED, Engine
from bench.figures import Figures, Variant
from bench.ratios import Ratio
from bench.stage import Stage

MEASURES: Mapping[Variant, Callable[[Stage], Awaitable[Figures]]] = {
    Variant.FLOOR: signups.floor,
    Variant.RELAY_AWAY: signups.relay_away,
    Variant.UNAUDITED: signups.unaudited,
    Variant.RELAY_HANGING: signups.relay_hanging,
    Variant.DELIVERING: signups.delivering,
    Variant.RECIPE: signups.recipe,
    Variant.POOL: mails.pool,
    Variant.WORKER: mails.worker,
    Variant.FEW_FINISHED: partial(growth.claims, finished=1_000),
    Variant.MANY_FINISHED: partial(growth.claims, finished=1_000_000),
    Variant.FEW_WAITING: partial(growth.memory, waiting=1_000),
    Variant.MANY_WAITING: partial(growth.memory, waiting=100_000),
}


def needed(ratios: Sequence[Ratio]) -> list[Variant]:
    wanted = {variant for ratio in ratios for variant in (ratio.above, ratio.below)}
    return [variant for variant in MEASURES if variant in wanted]


async def measured(
    engines: Sequence[Engine],
    variants: Sequence[Variant],
    *,
    rounds: int,
    seconds: float,
    folder: Path,
    announce: Callable[[str], None],
) -> AsyncGenerator[tuple[Engine, int, Variant, Figures]]:
    """One by one, as they are found; `announce` says what comes next."""
    async with AsyncExitStack() as stack:
        stages = {engine: await _stage(engine, seconds, folder, stack) for engine in engines}
        for number in range(rounds):
            for engine, stage in stages.items():
                # Each round begins with another one, so that none always follows the same.
                first = number % len(variants)
                for variant in [*variants[first:], *variants[:first]]:
                    announce(f"round {number + 1}, {engine}: {variant}")
                    yield engine, number, variant, await MEASURES[variant](stage)


async def _stage(engine: Engine, seconds: float, folder: Path, stack: AsyncExitStack) -> Stage:
    own = Path(tempfile.mkdtemp(prefix=f"{engine}-", dir=folder))
    databases = await stack.enter_async_context(STARTED[engine](own))
    return Stage(databases, seconds=seconds, folder=own, kept=stack)
