"""Disks of their own (mounting them needs root, as the suite has in CI)."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def _mounted(place: Path, kind: str, options: str) -> Iterator[Path]:
    place.mkdir()
    subprocess.run(["mount", "-t", kind, "-o", options, "penstock-test", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    with _mounted(tmp_path / "disk", "tmpfs", "size=4m,mode=700") as place:
        yield place


@pytest.fixture
def disk_without_holes(tmp_path: Path) -> Iterator[Path]:
    """A file system that cannot give back a part of a file."""
    with _mounted(tmp_path / "disk-without-holes", "ramfs", "mode=700") as place:
        yield place
