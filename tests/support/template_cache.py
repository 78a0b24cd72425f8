"""Jinja's compiled templates, kept in memory."""

from jinja2 import BytecodeCache
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
