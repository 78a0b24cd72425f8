"""Checks the pinned packages for known vulnerabilities.

pip-audit alone says "No known vulnerabilities found" and exits with 0 if its advisory service knows none of
the packages. So this first asks about a package that is known to be vulnerable, and then requires an answer
about every pinned package.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.lock_file import Pin

KNOWN_TO_BE_VULNERABLE = Pin("jinja2", "2.11.2")  # CVE-2020-28493, and more since


class Unreachable(Exception):
    """No advisory service could be asked. This says nothing about the packages."""


class Unsafe(Exception):
    """One sentence per line: which package is vulnerable, or was not audited."""


def check(pins: Sequence[Pin]) -> None:
    """Raises Unreachable or Unsafe."""
    if not pins:
        raise Unsafe("The lock file pins nothing, so nothing was audited.")
    _require_a_finding()
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


def _require_a_finding() -> None:
    if not _ask([KNOWN_TO_BE_VULNERABLE]).get(KNOWN_TO_BE_VULNERABLE.name):
        raise Unreachable(f"it does not know that {KNOWN_TO_BE_VULNERABLE} is vulnerable")


def _ask(pins: Sequence[Pin]) -> dict[str, list[str]]:
    """The known vulnerabilities of each package that was looked up."""
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
            check=False,  # exit status 1 means either findings or a failure
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
