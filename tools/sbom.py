"""Writes the software bill of materials: every pinned package, in CycloneDX format."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.lock_file import Pin, pins


class Incomplete(Exception):
    """One sentence per line: which pinned package is not listed."""


def write(lock: Path, sbom: Path) -> int:
    """Returns the number of packages. Raises Incomplete."""
    subprocess.run(
        [
            # It warns that a lock file has no dependency graph, which is true.
            *(sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", str(lock)),
            *("--pyproject", "pyproject.toml", "--output-reproducible"),
            *("--output-format", "JSON", "--output-file", str(sbom)),
        ],
        check=True,
    )
    pinned = pins(lock)
    check(json.loads(sbom.read_text("utf-8")), pinned)
    return len(pinned)


def check(bill: dict[str, Any], pinned: Sequence[Pin]) -> None:
    """Raises Incomplete."""
    if not pinned:
        raise Incomplete("The lock file pins nothing.")
    listed = {_pin(component) for component in bill["components"]}
    missing = [f"{pin} is not listed with its version and hashes." for pin in pinned if pin not in listed]
    if missing:
        raise Incomplete("\n".join(missing))


def _pin(component: dict[str, Any]) -> Pin:
    hashes = [each for found in component.get("externalReferences", ()) for each in found.get("hashes", ())]
    return Pin(component["name"], component["version"], frozenset(each["content"] for each in hashes))
