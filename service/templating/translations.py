"""What the pages say in other languages: a TOML file for each, from the English sentence to its own."""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from service.settings import InvalidSettings
from service.templating.languages import DEFAULT, TAG

FILE = re.compile(rf"texts\.({TAG})\.toml")

Texts = Mapping[str, str]


def load(folders: Sequence[Path]) -> dict[str, Texts]:
    """By language. Of two folders with the same sentence, the first one has the last word.

    Raises InvalidSettings.
    """
    texts: dict[str, dict[str, str]] = {DEFAULT: {}}
    for folder in reversed(folders):
        for file in sorted(folder.iterdir()):
            if match := FILE.fullmatch(file.name):
                texts.setdefault(match[1], {}).update(_read(file))
    return dict(texts)


def translator(texts: Texts) -> Callable[[str], str]:
    """A sentence that has no translation is said in English."""
    return lambda sentence: texts.get(sentence, sentence)


def _read(file: Path) -> dict[str, str]:
    try:
        texts = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:  # what is no TOML or no UTF-8 is a ValueError
        raise InvalidSettings(f"TEMPLATES_DIR: {file} cannot be used: {exc}.") from exc
    for sentence, translation in texts.items():
        if not isinstance(translation, str):
            raise InvalidSettings(f'TEMPLATES_DIR: {file} cannot be used: "{sentence}" needs a text.')
    return texts
