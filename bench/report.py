"""Shows the measurements as tables for the terminal, as JSON and as Markdown."""

import dataclasses
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from bench.databases import Engine
from bench.load import CLIENTS
from bench.measurements import Measurement
from bench.ratios import Ratio, Result, Round

RATIO_COLUMNS = ("ratio", "engine", "median (spread)", "promised", "")
VARIANT_COLUMNS = ("measured", "engine", "a second", "p50 ms", "p99 ms", "memory MiB", "refused, lost")


@dataclass(frozen=True)
class Report:
    ratios: Sequence[Ratio]
    rounds: Mapping[Engine, Sequence[Round]]
    machine: Mapping[str, str]
    seconds: float

    @property
    def results(self) -> list[Result]:
        return [
            Result(ratio, engine, [ratio.of(measured) for measured in rounds])
            for ratio in self.ratios
            for engine, rounds in self.rounds.items()
        ]

    def tables(self) -> Iterator[Table]:
        yield _table(VARIANT_COLUMNS, self._variant_rows())
        yield _table(RATIO_COLUMNS, self._ratio_rows())

    def markdown(self) -> str:
        return "\n\n".join(
            [
                "# What the service costs",
                f"{self._scope}. Medians of the rounds; a ratio is taken within each round.",
                "\n".join(f"- **{ratio.title}**: {ratio.meaning}" for ratio in self.ratios),
                _markdown(RATIO_COLUMNS, self._ratio_rows()),
                _markdown(VARIANT_COLUMNS, self._variant_rows()),
                "Measured on:",
                "\n".join(f"- {name}: {value}" for name, value in self.machine.items()),
                "",
            ]
        )

    def json(self) -> dict[str, Any]:
        return {
            "machine": self.machine,
            "seconds": self.seconds,
            "ratios": [
                {
                    "ratio": result.ratio.title,
                    "engine": result.engine,
                    "median": result.median,
                    "rounds": result.rounds,
                    "promised": result.ratio.limit(result.engine),
                    "met": result.is_met,
                }
                for result in self.results
            ],
            "rounds": {
                engine: [
                    {variant: _known(measurement) for variant, measurement in one.items()} for one in rounds
                ]
                for engine, rounds in self.rounds.items()
            },
        }

    @property
    def _scope(self) -> str:
        rounds = max(len(rounds) for rounds in self.rounds.values())
        times = f"{rounds} round{'s' * (rounds > 1)} of {self.seconds:g} s each"
        return f"{times}, {CLIENTS} connections, one process of the service"

    def _ratio_rows(self) -> Iterator[Sequence[str]]:
        for result in self.results:
            promised = result.ratio.limit(result.engine)
            yield (
                result.ratio.title,
                result.engine,
                str(result),
                promised,
                "met" if result.is_met else "missed",
            )

    def _variant_rows(self) -> Iterator[Sequence[str]]:
        for engine, rounds in self.rounds.items():
            for variant in rounds[0]:
                yield variant, engine, *_columns([measured[variant] for measured in rounds])


def _table(columns: Sequence[str], rows: Iterator[Sequence[str]]) -> Table:
    table = Table(*columns)
    for row in rows:
        table.add_row(*row)
    return table


def _columns(measurements: Sequence[Measurement]) -> Iterator[str]:
    rates = [one.rate for one in measurements]
    rate = _median(rates, digits=0)
    yield f"{rate} ({min(rates):,.0f} to {max(rates):,.0f})" if rate else ""
    yield _median([one.p50 * 1e3 for one in measurements], digits=1)
    yield _median([one.p99 * 1e3 for one in measurements], digits=1)
    yield _median([one.memory / 2**20 for one in measurements], digits=0)
    refused, lost = sum(one.refused for one in measurements), sum(one.lost for one in measurements)
    yield f"{refused:,}, {lost:,}" if refused or lost else ""


def _median(values: Sequence[float], *, digits: int) -> str:
    median = statistics.median(values)
    return "" if math.isnan(median) else f"{median:,.{digits}f}"


def _markdown(columns: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _known(measurement: Measurement) -> dict[str, float]:
    return {name: value for name, value in dataclasses.asdict(measurement).items() if not math.isnan(value)}
