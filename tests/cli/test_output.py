"""Lists: whole ids and one line per row, aligned on a terminal, plain elsewhere, and always harmless."""

import json
import os
import pty
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
import typer

from service.cli import output
from service.cli.output import escape, show

ID = UUID("01a2034d-e2b2-70ba-a0cc-98ae50e103db")
END = "end of output"
COLUMNS = ("id", "sent_at", "words")


def row(words: str | None) -> dict[str, object]:
    sent_at = datetime(2020, 11, 25, 19, 45, 57, 123456, tzinfo=timezone(timedelta(hours=1)))
    return {"id": ID, "sent_at": sent_at, "words": words, "attempt": 2}


Show = Callable[..., list[str]]


@pytest.fixture
def show_on_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Show]:
    """`show` on a terminal of 80 columns, and the lines that it prints there."""
    ours, theirs = pty.openpty()
    monkeypatch.setenv("COLUMNS", "80")
    with os.fdopen(theirs, "w", encoding="utf-8") as stdout:

        def show_on_terminal(rows: Sequence[output.Row], *columns: str) -> list[str]:
            with monkeypatch.context() as patched:
                patched.setattr(sys, "stdout", stdout)
                show(rows, columns=columns, as_json=False)
            stdout.write(END)
            stdout.flush()
            shown = b""
            while not shown.endswith(END.encode()):
                shown += os.read(ours, 65_536)
            return shown.decode().removesuffix(END).splitlines()

        yield show_on_terminal
    os.close(ours)


def test_without_a_terminal_columns_are_separated_by_tabs_and_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show([row("x" * 500), row(None)], columns=COLUMNS, as_json=False)

    assert capsys.readouterr().out == (
        f"id\tsent_at UTC\twords\n{ID}\t2020-11-25 18:45:57\t{'x' * 500}\n{ID}\t2020-11-25 18:45:57\t\n"
    )


def test_on_a_terminal_columns_are_aligned_and_the_last_fits(show_on_terminal: Show) -> None:
    assert show_on_terminal([row("x" * 500), row("550 no")], *COLUMNS) == [
        f"{'id':36}  sent_at UTC       words",
        f"{ID}  2020-11-25 18:45  {'x' * 23}…",
        f"{ID}  2020-11-25 18:45  550 no",
    ]


def test_near_times_leave_the_year_out(show_on_terminal: Show) -> None:
    now = datetime.now(UTC)

    _, near = show_on_terminal([{"at": now}], "at")
    _, *far = show_on_terminal([{"at": now}, {"at": now - timedelta(days=365)}], "at")

    assert near == now.strftime("%m-%d %H:%M")
    assert far == [f"{at:%Y-%m-%d %H:%M}" for at in (now, now - timedelta(days=365))]


def test_wide_letters_take_two_columns(show_on_terminal: Show) -> None:
    _, first = show_on_terminal([row("会" * 10)], "words", "id")
    _, last = show_on_terminal([row("会" * 50)], "id", "words")

    assert first == f"{'会' * 10}  {ID}"
    assert last == f"{ID}  {'会' * 20}…"


def test_a_last_column_without_room_is_left_out_and_no_id_is_cut(
    show_on_terminal: Show, capsys: pytest.CaptureFixture[str]
) -> None:
    _, line = show_on_terminal([row("x" * 500) | {"also": ID}], "id", "also", "words")

    assert line == f"{ID}  {ID}"
    assert capsys.readouterr().err == "There is no room for words: widen the terminal, or use --json.\n"


def test_json_has_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    show([row("a\tb")], columns=COLUMNS, as_json=True)

    assert json.loads(capsys.readouterr().out) == {
        "id": str(ID),
        "sent_at": "2020-11-25T19:45:57.123456+01:00",
        "words": "a\tb",
        "attempt": 2,
    }


def test_nothing_found_is_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        show([], columns=COLUMNS, as_json=False)

    assert ended.value.exit_code == 1
    assert capsys.readouterr() == ("", "Nothing was found.\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("550 \x1b[2J\x1b]0;owned\x07 no", r"550 \x1b[2J\x1b]0;owned\x07 no"),
        ("two\r\nlines\tand a tab", r"two\r\nlines\tand a tab"),
        ("\u202etxt.exe \x9b31m \udcff", r"\u202etxt.exe \x9b31m \udcff"),
        ("Zoë 会社 👩\u200d💻", "Zoë 会社 👩\u200d💻"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_escaped(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_times_are_in_utc_wherever_they_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"at": datetime(2026, 1, 1, tzinfo=UTC)}, {"at": None}], columns=["at"], as_json=False)

    assert capsys.readouterr().out == "at UTC\n2026-01-01 00:00:00\n\n"
