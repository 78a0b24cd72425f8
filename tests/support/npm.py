"""Packages from npm, where there is one."""

import shutil
import subprocess
from pathlib import Path

import pytest

OPTIONS = ("--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=0", "--fetch-timeout=20000")


def install(package: Path, *, folder: Path) -> Path:
    """A copy of the package in this folder, with what its lock file names. Skips the test without npm or its
    registry."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm here")
    copy = shutil.copytree(package, folder / package.name)
    installed = subprocess.run([npm, "ci", *OPTIONS], cwd=copy, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"npm could not install the packages: {installed.stderr.strip().splitlines()[-1:]}")
    return copy
