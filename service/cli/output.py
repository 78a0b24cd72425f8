"""What the commands print: sentences, tables and JSON lines."""

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Union

import typer

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

Row = Union[Mapping[str, object], "RowMapping"]  # a string has no |

GAP = "  "
ELLIPSIS = "…"
MIN_LAST_WIDTH = 6  # characters of the last column; with room for fewer it is left out
WHOLE_TIME = "%Y-%m-%d %H:%M:%S"
NEAR = timedelta(days=180)
JOINERS = "\u200c\u200d"  # not printable by themselves, but part of names and emoji


def say(text: str) -> None:
    typer.echo(text)


def complain(text: str) -> None:
    typer.secho(text, fg="red", err=True)


def show(rows: Sequence[Row], *, columns: Sequence[str], as_json: bool) -> None:
    """The rows as a table of these columns, or with every field as JSON lines.

    On a terminal the columns are aligned, and the last one, which is for free text, is shortened to the
    terminal's width. Elsewhere they are separated by tabs and whole. Raises Exit(1) if there are no rows.
    """
    if not rows:
        complain("Nothing was found.")
        raise typer.Exit(1)
    if as_json:
        for row in rows:
            say(to_json_line(row))
    elif sys.stdout.isatty():
        _show_table(rows, columns, width=shutil.get_terminal_size().columns)
    else:
        for line in _cells(rows, columns, format_time=WHOLE_TIME):
            say("\t".join(line))


def to_json_line(row: Row) -> str:
    return json.dumps(_to_json_value(row))


def escape(text: str) -> str:
    """The text with `\\x1b` and the like in place of what a terminal would obey: others wrote it."""
    return "".join(
        character
        if character.isprintable() or character in JOINERS
        else character.encode("unicode_escape", "backslashreplace").decode()
        for character in text
    )


def _show_table(rows: Sequence[Row], columns: Sequence[str], *, width: int) -> None:
    from rich.cells import cell_len, set_cell_size

    lines = list(_cells(rows, columns, format_time=_choose_time_format(rows)))
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    left = width - sum(widths[:-1]) - len(GAP) * (len(columns) - 1)
    shown = len(columns) if widths[-1] <= left or left >= MIN_LAST_WIDTH else len(columns) - 1
    for line in lines:
        cells = list(line[:shown])
        if shown == len(columns) and cell_len(cells[-1]) > left:
            cells[-1] = set_cell_size(cells[-1], left - 1).rstrip() + ELLIPSIS
        padded = (set_cell_size(cell, widths[at]) for at, cell in enumerate(cells[:-1]))
        say(GAP.join([*padded, cells[-1]]).rstrip())
    if shown < len(columns):
        typer.echo(f"There is no room for {columns[-1]}: widen the terminal, or use --json.", err=True)


def _choose_time_format(rows: Sequence[Row]) -> str:
    """Without the year if no time is far away: at 80 columns the last column needs its room."""
    times = [value for row in rows for value in row.values() if isinstance(value, datetime)]
    is_near = all(abs(datetime.now(UTC) - at) < NEAR for at in times)
    return "%m-%d %H:%M" if is_near else "%Y-%m-%d %H:%M"


def _cells(rows: Sequence[Row], columns: Sequence[str], *, format_time: str) -> Iterable[Sequence[str]]:
    yield [_heading(name, rows) for name in columns]
    for row in rows:
        yield [_cell(row[name], format_time=format_time) for name in columns]


def _heading(name: str, rows: Sequence[Row]) -> str:
    return f"{name} UTC" if any(isinstance(row[name], datetime) for row in rows) else name


def _cell(value: object, *, format_time: str) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return value.astimezone(UTC).strftime(format_time)
        case _:
            return escape(str(value))


def _to_json_value(value: object) -> object:
    match value:
        case None | int() | str():
            return value
        case bytes():
            return value.hex()
        case datetime():
            return value.isoformat()
        case list():
            return [_to_json_value(item) for item in value]
        case Mapping():
            return {name: _to_json_value(item) for name, item in value.items()}
        case _:
            return str(value)
