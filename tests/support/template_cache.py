"""Jinja's compiled templates, kept in memory."""

from functools import partialmethod

import pytest
from jinja2 import BytecodeCache, Environment
from jinja2.bccache import Bucket


class TemplateCache(BytecodeCache):
    """Keyed by name, file and content, as Jinja's own caches are."""

    def __init__(self) -> None:
        self._compiled: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if (compiled := self._compiled.get(f"{bucket.key}{bucket.checksum}")) is not None:
            bucket.bytecode_from_string(compiled)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._compiled[f"{bucket.key}{bucket.checksum}"] = bucket.bytecode_to_string()


def compile_once(patch: pytest.MonkeyPatch) -> None:
    """Every app compiles the same ones: half of what creating it takes."""
    patch.setattr(
        Environment, "__init__", partialmethod(Environment.__init__, bytecode_cache=TemplateCache())
    )
