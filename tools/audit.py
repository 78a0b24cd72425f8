"""Whether any pinned package has a known vulnerability.

pip-audit alone says "No known vulnerabilities found" and exits with 0 where its service knew none of
the packages. So it is first asked about one that is known to be vulnerable, and then every pin must
have been looked at.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.lock import Pin

KNOWN_TO_BE_VULNERABLE = Pin("jinja2", "2.11.2")  # CVE-2020-28493, and more since


class Unreachable(Exception):
    """Nobody could be asked. That says nothing about the packages."""


class Unsafe(Exception):
    """A sentence a line: what is vulnerable, or was not looked at."""


def audit(pins: Sequence[Pin]) -> None:
    """Raises Unreachable and Unsafe."""
    if not pins:
        raise Unsafe("The lock file pins nothing, so nothing was audited.")
    _prove_that_it_finds()
    try:
        found = _ask(pins)
    except Unreachable as exc:  # it answered a moment ago
        raise Unsafe(f"The packages were not audited: {exc}") from exc
    wrong = [
        *(f"{pin} was not audited." for pin in pins if pin.name not in found),
        *(f"{pin} is vulnerable: {', '.join(found[pin.name])}." for pin in pins if found.get(pin.name)),
    ]
    if wrong:
        raise Unsafe("\n".join(wrong))


def _prove_that_it_finds() -> None:
    if not _ask([KNOWN_TO_BE_VULNERABLE]).get(KNOWN_TO_BE_VULNERABLE.name):
        raise Unreachable(f"who answered does not know that {KNOWN_TO_BE_VULNERABLE} is vulnerable")


def _ask(pins: Sequence[Pin]) -> dict[str, list[str]]:
    """The names of the known vulnerabilities, by package, of all that were looked at."""
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text("".join(f"{pin.name}=={pin.version}\n" for pin in pins), "utf-8")
        asked = subprocess.run(
            [
                *(sys.executable, "-m", "pip_audit", "--requirement", str(requirements)),
                *("--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"),
            ],
            capture_output=True,
            text=True,
            check=False,  # 1 means both that there are some and that it failed
        )
    try:
        dependencies = json.loads(asked.stdout)["dependencies"]
    except ValueError as exc:
        words = asked.stderr.strip().splitlines() or ["pip-audit said nothing"]
        raise Unreachable(words[-1]) from exc
    return {
        dependency["name"]: [vulnerability["id"] for vulnerability in dependency["vulns"]]
        for dependency in dependencies
        if "vulns" in dependency
    }
