"""A store that a user has called `demo`, with the dataset that docstrings tell of; a disk that is soon full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from trees.directory import write

import penstock
from penstock.progress import SILENT
from penstock.repo.push.push import push
from penstock.repo.settings.handle import parse_handle
from penstock.repo.settings.settings import Settings
from penstock.repo.write.publish import Authorship


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory: `demo/photos` has version v1, a second one on main; `./photos` is what it has."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("PENSTOCK_AUTHOR", "Ada <ada@example.org>")
    penstock.add_remote("demo", str(tmp_path / "store"))
    photos = write(here / "photos", {"2024/cat.jpg": b"cat", "labels.csv": b"cat,1"})
    for message, tag in (("first batch", "v1"), ("second batch", None)):
        push(str(photos), parse_handle("demo/photos"), Settings.load(), Authorship("Ada", message, "push"), SILENT, tag)
        write(photos, {"2024/dog.jpg": b"dog"})
    return here


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 4 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "penstock-test", path], check=True)
    yield path
    subprocess.run(["umount", "-l", path], check=True)
