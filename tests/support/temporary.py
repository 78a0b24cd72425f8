"""Where the folders of tests are: in memory, where a commit does not wait for a disk."""

import os
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108  # pytest makes a folder in it that only this user can enter
ROOM = 2 * 1024**3  # bytes
CHOSEN_BY = {"PYTEST_DEBUG_TEMPROOT", "TMPDIR", "TEMP", "TMP"}  # variables


def prefer_memory(*, basetemp: str | None) -> None:
    """Unless somebody has chosen a folder. Workers get theirs from the process that starts them."""
    if basetemp is None and CHOSEN_BY.isdisjoint(os.environ) and suits(MEMORY):
        os.environ["PYTEST_DEBUG_TEMPROOT"] = f"{MEMORY}"


def suits(folder: Path) -> bool:
    """In a container it is often small, and no program may be started from it."""
    return (
        os.access(folder, os.R_OK | os.W_OK | os.X_OK)
        and not os.statvfs(folder).f_flag & os.ST_NOEXEC
        and shutil.disk_usage(folder).free > ROOM
    )
