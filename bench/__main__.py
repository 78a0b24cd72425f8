"""`python -m bench` measures the service, shows the results, and writes them to `bench/results`."""

import asyncio
import contextlib
import json
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench.chart import draw_chart
from bench.databases import Engine
from bench.machine import machine
from bench.measurements import Measurement, Variant
from bench.processes import Broken
from bench.ratios import RATIOS, Group, Ratio
from bench.report import Report
from bench.rounds import measure_rounds, needed_variants

RESULTS = Path(__file__).parent / "results"  # the README shows these, so only a full run writes them
MIN_ROUNDS = 3

console = Console()


def main(
    rounds: Annotated[int, typer.Option(min=1, help="How many times each variant is measured.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="For how long, each time.")] = 3,
    only: Annotated[str, typer.Option(help=f"Some of {', '.join(Group)}, separated by commas.")] = "",
    engine: Annotated[Engine | None, typer.Option(help="Measure with this database only.")] = None,
    results: Annotated[Path | None, typer.Option(help="Where to write a shorter run.")] = None,
) -> None:
    """Compare the service with an endpoint that stores nothing and with the usual recipe."""
    is_whole = not only and not engine and rounds >= MIN_ROUNDS
    folder = results.absolute() if results else RESULTS if is_whole else None
    chosen = _groups(only)
    ratios = [ratio for ratio in RATIOS if ratio.group in chosen]
    try:
        with tempfile.TemporaryDirectory(prefix="signup-bench-") as workshop, contextlib.chdir(workshop):
            report = asyncio.run(
                _measure([engine] if engine else [*Engine], ratios, rounds=rounds, seconds=seconds)
            )
    except Broken as exc:
        console.print(str(exc), style="red", markup=False)
        raise typer.Exit(1) from exc
    except asyncio.CancelledError as exc:
        raise typer.Exit(128 + signal.SIGTERM) from exc
    for table in report.tables():
        console.print(table)
    if folder:
        _write(report, folder)
        console.print(f"Written to {folder}")


def _groups(only: str) -> Sequence[Group]:
    try:
        return [Group(name.strip()) for name in only.split(",")] if only else [*Group]
    except ValueError as exc:
        raise typer.BadParameter(f"--only takes some of {', '.join(Group)}.") from exc


async def _measure(
    engines: Sequence[Engine], ratios: Sequence[Ratio], *, rounds: int, seconds: float
) -> Report:
    """Works in the current folder."""
    _end_in_order_on(signal.SIGTERM)
    variants = needed_variants(ratios)
    found: dict[Engine, list[dict[Variant, Measurement]]] = {
        engine: [{} for _ in range(rounds)] for engine in engines
    }
    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}")
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("starts", total=len(engines) * rounds * len(variants))
        measuring = measure_rounds(
            engines,
            variants,
            rounds=rounds,
            seconds=seconds,
            folder=Path.cwd(),
            announce=lambda words: progress.update(bar, description=words),
        )
        async with contextlib.aclosing(measuring):
            async for engine, number, variant, measurement in measuring:
                found[engine][number][variant] = measurement
                progress.advance(bar)
    return Report(ratios=ratios, rounds=found, machine=machine(), seconds=seconds)


def _end_in_order_on(number: signal.Signals) -> None:
    """Ends as Ctrl-C does, so that every process that was started is stopped."""
    if task := asyncio.current_task():
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def _write(report: Report, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    caption = f"{report.machine['processor']}, {report.machine['date']}. ≥: beyond the line, ≤: before it"
    (folder / "ratios.svg").write_text(draw_chart(report.results, caption=caption))
    (folder / "latest.md").write_text(report.markdown())
    (folder / "latest.json").write_text(json.dumps(report.json(), indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
