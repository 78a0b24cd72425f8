"""One consistent copy of an SQLite database, while others write to it."""

import asyncio
import os
import sqlite3
from pathlib import Path

from service.database.engine import BUSY_TIMEOUT_MS, Database


class BackupFailed(Exception):
    """A sentence for people."""


async def back_up(database: Database, *, to: Path) -> None:
    """Only for SQLite. The file appears when the copy is complete and on disk. Raises BackupFailed."""
    try:
        await asyncio.to_thread(_copy, database.file, to)
    except (OSError, sqlite3.Error) as exc:
        reason = getattr(exc, "strerror", None) or str(exc)
        raise BackupFailed(
            f"{database.file} could not be copied to {to} ({reason}): name a file in a folder that "
            "exists, can be written, and has room for it."
        ) from exc


def _copy(source: Path, target: Path) -> None:
    if target.exists():
        raise BackupFailed(f"{target} exists already, and is left as it is: name another file.")
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)  # of a copy that was interrupted
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        _vacuum_into(partial, source)
        os.fsync(descriptor)
        os.link(partial, target)  # unlike renaming, it replaces nothing
    finally:
        os.close(descriptor)
        partial.unlink()
    _fsync_folder(target.parent)


def _vacuum_into(target: Path, source: Path) -> None:
    # Reads one snapshot. `.backup` begins again whenever another process writes: under traffic it never ends.
    connection = sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        connection.execute("VACUUM INTO ?", (str(target),))
    finally:
        connection.close()


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
