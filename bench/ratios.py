"""The promised ratios: what they compare, and their limits."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bench.databases import Engine
from bench.measurements import Measurement, Variant

Round = Mapping[Variant, Measurement]


class Group(StrEnum):
    ACCEPT = "accept"
    WHOLE = "whole"
    STEADINESS = "steadiness"
    MAIL = "mail"
    AUDIT = "audit"
    EVENTS = "events"
    RELAY = "relay"
    GROWTH = "growth"


@dataclass(frozen=True)
class Ratio:
    group: Group
    title: str
    meaning: str
    above: Variant
    below: Variant
    figure: Callable[[Measurement], float]
    limits: Mapping[Engine, float]
    at_least: bool  # else the limit is an upper one
    figure_below: Callable[[Measurement], float] | None = None  # if it is another figure

    def of(self, measured: Round) -> float:
        below = self.figure_below or self.figure
        return self.figure(measured[self.above]) / below(measured[self.below])

    def limit(self, engine: Engine) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limits[engine]:g}"


@dataclass(frozen=True)
class Result:
    """A ratio over all rounds on one engine."""

    ratio: Ratio
    engine: Engine
    rounds: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def is_met(self) -> bool:
        limit = self.ratio.limits[self.engine]
        return self.median >= limit if self.ratio.at_least else self.median <= limit

    def __str__(self) -> str:
        return f"{self.median:.2f} ({min(self.rounds):.2f} to {max(self.rounds):.2f})"


def _rate(measurement: Measurement) -> float:
    return measurement.rate


def _p99(measurement: Measurement) -> float:
    return measurement.p99


def _p50(measurement: Measurement) -> float:
    return measurement.p50


def _memory(measurement: Measurement) -> float:
    return measurement.memory


def _both(limit: float) -> Mapping[Engine, float]:
    return dict.fromkeys(Engine, limit)


RATIOS = (
    Ratio(
        Group.ACCEPT,
        "Accepting signups",
        "user, email and audit entry on disk, over an endpoint that stores nothing",
        above=Variant.RELAY_AWAY,
        below=Variant.FLOOR,
        figure=_rate,
        limits=_both(0.55),
        at_least=True,
    ),
    Ratio(
        Group.WHOLE,
        "The whole job",
        "until every mail is delivered and every audit entry is in its table, over the usual recipe",
        above=Variant.DELIVERING,
        below=Variant.RECIPE,
        figure=_rate,
        limits=_both(12),
        at_least=True,
    ),
    Ratio(
        Group.STEADINESS,
        "Steadiness",
        "p99 over p50 of the responses while mails are delivered",
        above=Variant.DELIVERING,
        below=Variant.DELIVERING,
        figure=_p99,
        figure_below=_p50,
        limits=_both(3),
        at_least=False,
    ),
    Ratio(
        Group.MAIL,
        "Delivering mail",
        "from a full outbox, over a bare pool of the same connections that sends one prepared message; the "
        "relay takes 2 ms for each reply",
        above=Variant.WORKER,
        below=Variant.POOL,
        figure=_rate,
        limits=_both(0.8),
        at_least=True,
    ),
    Ratio(
        Group.MAIL,
        "Delivering mail far away",
        "the same with a relay that takes 20 ms for each reply, as one in another place does",
        above=Variant.DISTANT_WORKER,
        below=Variant.DISTANT_POOL,
        figure=_rate,
        limits=_both(0.8),
        at_least=True,
    ),
    Ratio(
        Group.AUDIT,
        "With the audit",
        "signups a second, over the same with AUDIT_EXCLUDE=/signup",
        above=Variant.RELAY_AWAY,
        below=Variant.UNAUDITED,
        figure=_rate,
        limits={Engine.POSTGRESQL: 0.9, Engine.SQLITE: 0.85},
        at_least=True,
    ),
    Ratio(
        Group.EVENTS,
        "With events",
        "signups a second, over the same without WEBHOOK_URL; the receiver answers in 50 ms",
        above=Variant.HANDING_ON,
        below=Variant.RELAY_AWAY,
        figure=_rate,
        limits=_both(0.85),
        at_least=True,
    ),
    Ratio(
        Group.RELAY,
        "Relay away",
        "p99 of the answers, over the relay up",
        above=Variant.RELAY_AWAY,
        below=Variant.DELIVERING,
        figure=_p99,
        limits=_both(1.2),
        at_least=False,
    ),
    Ratio(
        Group.RELAY,
        "Relay hanging",
        "p99 of the answers, over the relay up",
        above=Variant.RELAY_HANGING,
        below=Variant.DELIVERING,
        figure=_p99,
        limits=_both(1.2),
        at_least=False,
    ),
    Ratio(
        Group.GROWTH,
        "Claiming from a large outbox",
        "the time of a claim with 1,000,000 finished mails, over 1,000",
        above=Variant.MANY_FINISHED,
        below=Variant.FEW_FINISHED,
        figure=_p50,
        limits=_both(1.5),
        at_least=False,
    ),
    Ratio(
        Group.GROWTH,
        "Memory with a long queue",
        "with 100,000 waiting mails and a relay that hangs, over 1,000",
        above=Variant.MANY_WAITING,
        below=Variant.FEW_WAITING,
        figure=_memory,
        limits=_both(1.3),
        at_least=False,
    ),
)
