"""The software bill of materials is complete."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.forks import ROOT
from tools import sbom
from tools.lock_file import Pin, pins

A, B = "a" * 64, "b" * 64


def test_the_sbom_lists_every_locked_package_with_version_and_hashes(tmp_path: Path) -> None:
    for name in ("requirements.lock", "pyproject.toml", "README.md", "LICENSE"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())

    made = subprocess.run(
        [sys.executable, "-m", "tools", "sbom"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )

    bill = json.loads((tmp_path / "sbom.json").read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "signup-service")
    listed = {(component["name"], component["version"]) for component in bill["components"]}
    assert listed == {(pin.name, pin.version) for pin in pins(ROOT / "requirements.lock")}
    assert made.stdout == f"sbom.json lists {len(listed)} packages.\n"


def component(name: str = "jinja2", version: str = "3.1.6", *hashes: str) -> dict[str, Any]:
    files = [{"hashes": [{"alg": "SHA-256", "content": each} for each in hashes]}]
    return {"name": name, "version": version, "externalReferences": files}


@pytest.mark.parametrize(
    "components",
    [
        [],
        [component("jinja", "3.1.6", A, B)],
        [component("jinja2", "3.1.5", A, B)],
        [component("jinja2", "3.1.6", A)],
        [component("jinja2", "3.1.6")],
    ],
)
def test_a_package_that_is_missing_or_another_is_named(components: list[dict[str, Any]]) -> None:
    with pytest.raises(sbom.Incomplete, match=r"^jinja2 3\.1\.6 is not listed"):
        sbom.check({"components": components}, [Pin("jinja2", "3.1.6", frozenset({A, B}))])


def test_a_list_of_nothing_is_none() -> None:
    with pytest.raises(sbom.Incomplete, match=r"pins nothing"):
        sbom.check({"components": []}, [])
