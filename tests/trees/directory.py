"""Directories of this machine, written from what is to be in them."""

from __future__ import annotations

from pathlib import Path


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """Write `files` by their relative paths below `folder`, which is returned."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder
