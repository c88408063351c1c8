"""A dataset to transform, on a local store: `demo/things`, files in three directories, pushed from `./things`."""

from __future__ import annotations

from pathlib import Path

import pytest
from views.transformed import FILES

import penstock


@pytest.fixture
def things(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PENSTOCK_AUTHOR", "Ada <ada@example.org>")
    monkeypatch.chdir(tmp_path)
    penstock.add_remote("demo", str(tmp_path / "store"))
    folder = tmp_path / "things"
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    penstock.Dataset("demo/things").push(folder)
    return folder
