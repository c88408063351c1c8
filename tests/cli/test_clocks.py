"""Machines whose clocks are an hour apart: what is young, and which lease stands, is told by the store's clock."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from .conftest import Run


@pytest.mark.parametrize("hours", [-1, 1])
def test_gc_of_a_machine_with_another_time_leaves_what_is_young(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    store, photos = tmp_path / "store", tmp_path / "photos"
    photos.mkdir()
    run("remote", "add", "demo", str(store))
    for content in ("first", "second"):
        (photos / "a").write_text(content)
        assert run("push", str(photos), f"demo/photos:{content}").exit_code == 0
    assert run("branch", "-d", "demo/photos", "first").exit_code == 0
    before = sorted(path for path in store.rglob("*") if path.is_file())
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600 * hours)
    run("gc", "demo", "--delete", "--grace", "30m")
    left = set(store.rglob("*"))
    assert [path for path in before if path not in left] == []
    (photos / "a").write_text("third")
    assert run("push", str(photos), "demo/photos:second").exit_code == 0
    log = run("log", "demo/photos:second", "--oneline").stdout
    assert len(log.splitlines()) == 2
