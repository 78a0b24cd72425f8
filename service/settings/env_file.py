"""What is wrong with `.env` beyond the values: lines that cannot be read, and misspelled names."""

import logging
from collections.abc import Collection, Iterator
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from service.settings.near_miss import find_near_miss

ENCODING = "utf-8-sig"  # UTF-8, with or without the mark that Windows editors put in front

logging.getLogger("dotenv.main").setLevel(logging.ERROR)  # it would warn of what we show ourselves


def find_problems(path: Path, *, names: Collection[str]) -> list[str]:
    """A sentence for each line that is ignored but was probably meant as a setting. Raises OSError and
    UnicodeDecodeError."""
    return [
        f"{path}, line {_line(binding)}: {problem}"
        for binding in _bindings(path)
        if (problem := _problem(binding, names))
    ]


def find_line(path: Path, name: str) -> int | None:
    """Where the variable is set, if it is. Raises OSError and UnicodeDecodeError."""
    lines = [_line(found) for found in _bindings(path) if found.key and found.key.upper() == name]
    return lines[-1] if lines else None  # the last one counts


def _bindings(path: Path) -> Iterator[Binding]:
    if path.exists():
        with path.open(encoding=ENCODING) as stream:
            yield from parse_stream(stream)


def _line(binding: Binding) -> int:
    text = binding.original.string  # with the empty lines before it
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _problem(binding: Binding, names: Collection[str]) -> str | None:
    # Nothing of the line is repeated: it may hold a secret.
    if binding.error:
        return "it cannot be read and is ignored: check its quotes, and that it is NAME=value."
    if binding.key is None:
        return None
    name = binding.key.upper()
    if name in names:
        return None if binding.value is not None else f"{name} has no value: write {name}=value."
    if near := find_near_miss(name, names):
        return f"{binding.key} is no setting and is ignored: did you mean {near}?"
    return None
