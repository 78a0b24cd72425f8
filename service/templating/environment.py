"""Loads templates: the built-in files, or the file of the same name in TEMPLATES_DIR."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from traceback import extract_tb

from jinja2 import (
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
    Template,
    TemplateNotFound,
    TemplateSyntaxError,
    select_autoescape,
)

from service.settings import InvalidSettings, Settings
from service.templating.contrast import DARK, LIGHT, readable_color, text_color_on
from service.templating.languages import DEFAULT, TAG

BUILT_IN = "built-in"  # as in {% extends "built-in/welcome.html" %}


def create_environment(settings: Settings, *, built_in: Path) -> Environment:
    loaders = [FileSystemLoader(folder) for folder in folders(settings, built_in=built_in)]
    # For a template that builds on ours, whatever replaces it.
    ours = PrefixLoader({BUILT_IN: FileSystemLoader(built_in)})
    made = Environment(
        loader=ChoiceLoader([*loaders, ours]),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
    )
    made.globals.update(
        product=settings.product_name,
        url=settings.product_url,
        path=settings.public_path,
        color=settings.brand_color,
        ink=text_color_on(settings.brand_color),
        accent=readable_color(settings.brand_color, on=LIGHT),
        accent_on_dark=readable_color(settings.brand_color, on=DARK),
    )
    return made


def folders(settings: Settings, *, built_in: Path) -> Sequence[Path]:
    """The folders that are searched for a file, in this order."""
    return [folder for folder in (settings.templates_dir, built_in) if folder]


def languages(templates: Environment, *, pattern: str) -> frozenset[str]:
    """The languages with files of their own; `pattern` is the file name, as in `welcome.{}.txt`."""
    named = re.compile(pattern.format(f"({TAG})"))
    found = (named.fullmatch(name) for name in templates.list_templates())
    return frozenset({DEFAULT} | {match[1] for match in found if match})


def load_template(templates: Environment, name: str, *contexts: Mapping[str, object]) -> Template:
    """Renders the template once for each context, so that a broken one is found at the start.

    Raises InvalidSettings.
    """
    try:
        template = templates.get_template(name)
        template.globals = dict(template.globals)  # a ChainMap is slow to read
        for context in contexts:
            template.render(context)
    except Exception as exc:  # a template can raise anything
        reason = f"there is no {exc}" if isinstance(exc, TemplateNotFound) else str(exc).rstrip(".")
        raise InvalidSettings(
            f"TEMPLATES_DIR: {_describe_place(exc) or name} cannot be used: {reason}."
        ) from exc
    return template


def _describe_place(exc: Exception) -> str | None:
    """The file and line, if the exception has them."""
    if isinstance(exc, TemplateSyntaxError):
        return f"{exc.filename}, line {exc.lineno},"
    frames = [frame for frame in extract_tb(exc.__traceback__) if not frame.filename.endswith((".py", ">"))]
    return f"{frames[-1].filename}, line {frames[-1].lineno}," if frames else None
