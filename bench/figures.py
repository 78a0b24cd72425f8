"""What is measured, and what comes out."""

import math
import statistics
from dataclasses import dataclass
from enum import StrEnum

from bench.load import Answers


class Variant(StrEnum):
    FLOOR = "floor"  # stores nothing, sends nothing
    RECIPE = "recipe"  # with its relay up
    DELIVERING = "delivering"  # the service with its relay up
    RELAY_AWAY = "relay away"  # the service; nobody listens where the relay should
    RELAY_HANGING = "relay hanging"  # the service; the relay takes connections and says nothing
    UNAUDITED = "unaudited"  # as RELAY_AWAY, told to keep no entry of a signup
    POOL = "pool"  # mails alone, prepared bytes
    WORKER = "worker"  # mails alone, from a full outbox
    FEW_FINISHED = "1,000 finished"  # claims among them
    MANY_FINISHED = "1,000,000 finished"
    FEW_WAITING = "1,000 waiting"  # the memory of the service
    MANY_WAITING = "100,000 waiting"


@dataclass(frozen=True)
class Figures:
    """Of one variant in one round; NaN is what it does not have."""

    rate: float = math.nan  # signups or mails a second
    p50: float = math.nan  # s, of the answers or the claims
    p99: float = math.nan
    memory: float = math.nan  # bytes
    refused: int = 0  # answers other than 201, and connections that broke
    lost: int = 0  # mails and audit entries that never came

    @classmethod
    def of(cls, answers: Answers, *, until: float | None = None, lost: int = 0) -> "Figures":
        """`until` is when the clock stopped, if that was later than the last answer."""
        centiles = statistics.quantiles(answers.seconds, n=100) if answers.created > 1 else [math.nan] * 99
        return cls(
            rate=answers.created / ((until or answers.ended) - answers.began),
            p50=centiles[49],
            p99=centiles[98],
            refused=answers.statuses.total() - answers.created + answers.broken,
            lost=lost,
        )
