"""A disk that a test can fill. It takes root to mount one."""

import contextlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def mounted(folder: Path, *, size: str) -> Iterator[None]:
    """A disk of this size, such as "1m", at the folder. Raises CalledProcessError without the right to."""
    options = f"size={size},mode=1777"
    mount = ["/bin/mount", "-t", "tmpfs", "-o", options, "tmpfs", f"{folder}"]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["/bin/umount", "-l", folder], check=True)


def fill(path: Path) -> None:
    """Writes the file until the disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
