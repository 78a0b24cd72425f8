"""Draws the ratios as an SVG. Bars grow from the left, and the line in the middle is the promise."""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

from bench.databases import Engine
from bench.ratios import Ratio, Result

WIDTH, MARGIN, TOP = 760, 24, 84
BAR, GAP, BARS_AT, ROW_END = 14, 4, 42, 22  # BARS_AT: offset of the bars, below two lines of text
FULL, MOST = 560, 2.0  # width in pixels, for 2.0 times the promise
NAMES = {Engine.POSTGRESQL: "PostgreSQL", Engine.SQLITE: "SQLite"}

STYLE = """
  :root { --page: #ffffff; --ink: #1f2328; --soft: #59636e; --rail: #eaeef2; --line: #1f2328;
          --postgresql: #2563eb; --sqlite: #0d9488; --missed: #c2410c; }
  @media (prefers-color-scheme: dark) {
    :root { --page: #0d1117; --ink: #e6edf3; --soft: #9198a1; --rail: #21262d; --line: #e6edf3;
            --postgresql: #6ea8fe; --sqlite: #2dd4bf; --missed: #fb923c; } }
  text { font: 13px system-ui, sans-serif; fill: var(--ink); }
  .title { font-weight: 600; font-size: 15px; }
  .head { font-weight: 600; font-size: 18px; }
  .soft { fill: var(--soft); font-size: 12px; }
  .page { fill: var(--page); }
  .rail { fill: var(--rail); }
  .postgresql { fill: var(--postgresql); }
  .sqlite { fill: var(--sqlite); }
  .missed { fill: var(--missed); }
  .promise { stroke: var(--line); stroke-width: 2; }
  .spread { stroke: var(--ink); stroke-width: 1.5; }
"""


def draw_chart(results: Sequence[Result], *, caption: str) -> str:
    """Takes the results grouped by ratio."""
    body: list[str] = []
    y = TOP
    for ratio, found in groupby(results, key=lambda result: result.ratio):
        rows = list(found)
        body += _row(ratio, rows, y=y)
        y += _height(rows)
    height = y + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" role="img" aria-labelledby="title">',
            '<title id="title">What the service costs, measured against what it promises</title>',
            f"<style>{STYLE}</style>",
            f'<rect class="page" width="{WIDTH}" height="{height}" rx="8"/>',
            *_head(caption),
            *body,
            "</svg>\n",
        ]
    )


def _head(caption: str) -> Iterator[str]:
    yield _text(MARGIN, 34, "What it costs", style="head")
    yield _text(MARGIN, 54, caption, style="soft")
    x = WIDTH - MARGIN - 180
    for engine, name in NAMES.items():
        yield f'<rect class="{engine}" x="{x}" y="23" width="12" height="12" rx="2"/>'
        yield _text(x + 18, 34, name)
        x += 112


def _row(ratio: Ratio, results: Sequence[Result], *, y: int) -> Iterator[str]:
    yield _text(MARGIN, y + 14, ratio.title, style="title")
    yield _text(MARGIN, y + 32, ratio.meaning, style="soft")
    bar_y = y + BARS_AT
    for result in results:
        yield from _bar(result, y=bar_y)
        bar_y += BAR + GAP


def _bar(result: Result, *, y: int) -> Iterator[str]:
    x, promise = _at(result, result.median), MARGIN + FULL / MOST
    middle = y + BAR / 2
    yield f'<rect class="rail" x="{MARGIN}" y="{y}" width="{FULL}" height="{BAR}" rx="3"/>'
    yield (
        f'<rect class="{result.engine}" x="{MARGIN}" y="{y}" width="{x - MARGIN:.1f}" height="{BAR}" rx="3"/>'
    )
    low, high = _at(result, min(result.rounds)), _at(result, max(result.rounds))
    yield f'<line class="spread" x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}"/>'
    yield f'<line class="promise" x1="{promise}" y1="{y - 2}" x2="{promise}" y2="{y + BAR + 2}"/>'
    verdict = f"{result.median:.2f}, promised {result.ratio.limit(result.engine)}"
    yield _text(MARGIN + FULL + 10, y + 12, verdict, style="soft" if result.is_met else "soft missed")


def _at(result: Result, value: float) -> float:
    limit = result.ratio.limits[result.engine]
    return MARGIN + min(value / limit, MOST) / MOST * FULL


def _height(results: Sequence[Result]) -> int:
    return BARS_AT + len(results) * (BAR + GAP) + ROW_END


def _text(x: float, y: float, words: str, *, style: str = "") -> str:
    return f'<text class="{style}" x="{x}" y="{y}">{escape(words)}</text>'
