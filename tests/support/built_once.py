"""What every app makes anew from the same parts, kept in memory: half of what creating an app takes."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from fastapi._compat import v2
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, Template
from pydantic import TypeAdapter

from service.templating import environment, translations
from tests.support import template_cache

RANDOM = {"key", "nonce"}


def build_once(patch: pytest.MonkeyPatch) -> None:
    template_cache.compile_once(patch)
    _render_samples_once(patch)
    _read_translations_once(patch)
    _build_type_adapters_once(patch)


def _render_samples_once(patch: pytest.MonkeyPatch) -> None:
    """Of the built-in templates. Those of a TEMPLATES_DIR are rendered each time."""
    load, rendered = environment.load_template, set[str]()

    def load_template(templates: Environment, name: str, *contexts: Mapping[str, object]) -> Template:
        assert isinstance(templates.loader, ChoiceLoader)
        ours, *others = templates.loader.loaders
        assert isinstance(ours, FileSystemLoader)
        samples = repr([ours.searchpath, name, *map(_constants, contexts)])
        if len(others) == 1 and samples in rendered:  # the other has ours under their own prefix
            return load(templates, name)
        template = load(templates, name, *contexts)
        rendered.add(samples)
        return template

    patch.setattr(environment, "load_template", load_template)


def _constants(context: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in context.items() if name not in RANDOM and not callable(value)}


def _read_translations_once(patch: pytest.MonkeyPatch) -> None:
    read = translations._read

    @cache
    def read_once(file: Path, _changed_at: int) -> dict[str, str]:
        return read(file)

    patch.setattr(translations, "_read", lambda file: read_once(file, file.stat().st_mtime_ns))


def _build_type_adapters_once(patch: pytest.MonkeyPatch) -> None:
    """For the fields of all routes."""
    built = dict[object, TypeAdapter[Any]]()

    def type_adapter(annotated: Any, *, config: Any) -> TypeAdapter[Any]:
        annotation, *metadata = get_args(annotated)
        key = (annotation, repr(metadata), repr(config))
        if key not in built:
            built[key] = TypeAdapter(annotated, config=config)
        return built[key]

    patch.setattr(v2, "TypeAdapter", type_adapter)
