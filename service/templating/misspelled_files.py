"""Files in TEMPLATES_DIR that replace nothing, because their name is one letter away from a template's."""

import re
from collections.abc import Sequence
from pathlib import Path

from service.settings.near_miss import find_near_miss
from service.templating.languages import TAG

PACKAGE = Path(__file__).parent.parent
BUILT_IN = (PACKAGE / "mail" / "templates", PACKAGE / "signup" / "templates")
TAGGED = re.compile(rf"([^.]+)\.{TAG}\.(.+)")


def find_misspelled_templates(folder: Path | None) -> Sequence[str]:
    """A sentence for each."""
    if folder is None:
        return []
    built_in = {file.name for templates in BUILT_IN for file in templates.iterdir()}
    known = built_in | {_remove_language(name) for name in built_in}
    return [
        f"{folder / name} is no template and is ignored: did you mean {near}?"
        for name in sorted(file.name for file in folder.iterdir())
        if _remove_language(name) not in known
        and (near := find_near_miss(_remove_language(name), sorted(known)))
    ]


def _remove_language(name: str) -> str:
    return TAGGED.sub(r"\1.\2", name)
