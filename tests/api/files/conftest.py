"""A working directory with some files in it, and a store that is called `demo`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import pytest

import penstock


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory: ``in/0.txt`` to ``in/4.txt``; ``demo`` is a directory beside it."""
    folder = tmp_path / "here"
    (folder / "in").mkdir(parents=True)
    monkeypatch.chdir(folder)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    made = partial(mkdtemp, dir=temporary)
    monkeypatch.setattr("penstock.api.files.work_directory.mkdtemp", lambda prefix, **_: made(prefix=prefix))
    monkeypatch.setenv("PENSTOCK_AUTHOR", "Ada <ada@example.org>")
    penstock.add_remote("demo", str(tmp_path / "store"))
    for number in range(5):
        (folder / "in" / f"{number}.txt").write_text(f"file {number}")
    return folder


@pytest.fixture
def no_leftovers(here: Path) -> Path:
    """Return the folder for temporary files, which is to be empty at the end."""
    return here.parent / "temporary"
