"""Directories as values: written from one, and read into one."""

from __future__ import annotations

import os
from pathlib import Path


def write_tree(top: Path, files: dict[str, bytes]) -> None:
    for name, body in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


def tree_of(top: Path) -> dict[str, bytes | str]:
    """Return what is in a directory: bytes of files, targets of links, "/" of directories."""
    found: dict[str, bytes | str] = {}
    for folder, folders, names in os.walk(top):
        for name in [*folders, *names]:
            path = Path(folder, name)
            key = str(path.relative_to(top))
            found[key] = f"-> {os.readlink(path)}" if path.is_symlink() else "/" if path.is_dir() else path.read_bytes()
    return found
