"""Reads the pinned packages of a lock file, for all platforms."""

import re
from dataclasses import dataclass
from pathlib import Path

PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s;\\]+)")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Pin:
    name: str
    version: str
    hashes: frozenset[str] = frozenset()  # SHA-256 of each file that may be installed

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def pins(lock: Path) -> list[Pin]:
    blocks = re.split(r"^(?=\S)", lock.read_text("utf-8"), flags=re.MULTILINE)
    return [
        Pin(match[1], match[2], frozenset(HASH.findall(block)))
        for block in blocks
        if (match := PIN.match(block))
    ]
