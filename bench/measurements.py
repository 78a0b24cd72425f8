"""The variants that are measured, and a measurement of one."""

import math
import statistics
from dataclasses import dataclass
from enum import StrEnum

from bench.load import Answers


class Variant(StrEnum):
    FLOOR = "floor"  # stores nothing, sends nothing
    RECIPE = "recipe"  # with its relay up
    DELIVERING = "delivering"  # the service with its relay up
    RELAY_AWAY = "relay away"  # the service; nothing listens at the relay's port
    RELAY_HANGING = "relay hanging"  # the service; the relay accepts connections and never replies
    UNAUDITED = "unaudited"  # as RELAY_AWAY, without audit entries of signups
    HANDING_ON = "handing on"  # as RELAY_AWAY, with events for a receiver that answers in 50 ms
    POOL = "pool"  # mails only: one prepared message over the same connections; each reply takes 2 ms
    WORKER = "worker"  # mails only: the worker, from a full outbox, to the same relay
    DISTANT_POOL = "pool, 20 ms away"  # the same, and each reply takes 20 ms
    DISTANT_WORKER = "worker, 20 ms away"
    FEW_FINISHED = "1,000 finished"  # the time of a claim beside them
    MANY_FINISHED = "1,000,000 finished"
    FEW_WAITING = "1,000 waiting"  # the memory of the service with them
    MANY_WAITING = "100,000 waiting"


@dataclass(frozen=True)
class Measurement:
    """One variant in one round. NaN stands for what the variant does not have."""

    rate: float = math.nan  # signups or mails a second
    p50: float = math.nan  # s; of responses or claims
    p99: float = math.nan
    memory: float = math.nan  # bytes
    refused: int = 0  # responses other than 201, and broken connections
    lost: int = 0  # mails and audit entries that never arrived

    @classmethod
    def of(cls, answers: Answers, *, until: float | None = None, lost: int = 0) -> "Measurement":
        """`until` is the end of the measurement, if it is later than the last response."""
        centiles = statistics.quantiles(answers.seconds, n=100) if answers.created > 1 else [math.nan] * 99
        return cls(
            rate=answers.created / ((until or answers.ended) - answers.began),
            p50=centiles[49],
            p99=centiles[98],
            refused=answers.statuses.total() - answers.created + answers.broken,
            lost=lost,
        )
