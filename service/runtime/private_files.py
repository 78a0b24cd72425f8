"""Folders and files that nobody but their owner can read."""

from pathlib import Path


def create_private_folder(folder: Path) -> None:
    """With its missing parents. A folder that exists stays as it is. Raises OSError."""
    if not folder.is_dir():
        create_private_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def create_private_file(file: Path) -> None:
    """Empty, unless it exists; with its missing folders. Raises OSError."""
    create_private_folder(file.parent)
    file.touch(mode=0o600)
