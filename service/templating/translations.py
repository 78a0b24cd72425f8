"""Translations of the pages: a TOML file for each language, from the English sentence to its translation."""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from service.settings import InvalidSettings
from service.templating.languages import DEFAULT, TAG

FILE = re.compile(rf"texts\.({TAG})\.toml")

Texts = Mapping[str, str]


def load(folders: Sequence[Path]) -> dict[str, Texts]:
    """The translations by language. If two folders translate the same sentence, the first folder wins.

    Raises InvalidSettings.
    """
    texts: dict[str, dict[str, str]] = {DEFAULT: {}}
    for folder in reversed(folders):
        for file in sorted(folder.iterdir()):
            if match := FILE.fullmatch(file.name):
                texts.setdefault(match[1], {}).update(_read(file))
    return dict(texts)


def translator(texts: Texts) -> Callable[[str], str]:
    """Translates a sentence, or returns it in English if there is no translation."""
    return lambda sentence: texts.get(sentence, sentence)


def _read(file: Path) -> dict[str, str]:
    try:
        texts = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:  # both invalid TOML and invalid UTF-8 raise ValueError
        raise InvalidSettings(f"TEMPLATES_DIR: {file} cannot be used: {exc}.") from exc
    for sentence, translation in texts.items():
        if not isinstance(translation, str):
            raise InvalidSettings(f'TEMPLATES_DIR: {file} cannot be used: "{sentence}" needs a text.')
    return texts
