"""``penstock demo``, from nothing and back to nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

pytestmark = pytest.mark.fuse
Run = Callable[..., Result]


def test_the_demo_shows_all_and_leaves_nothing(
    run: Run, home: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "64MB")
    done = run("demo")
    try:
        assert done.exit_code == 0, done.stderr
        for line in ("M zone.tab", "D Europe/Paris", "the demo was here", "as they are here", "# changed"):
            assert line in done.stdout
        assert (home / "penstock-demo" / "files").is_mount()
        assert run("demo").exit_code == 4
    finally:
        removed = run("demo", "--remove", "--json")
    assert removed.exit_code == 0, removed.stderr
    assert json.loads(removed.stdout) == {"removed": str(home / "penstock-demo")}
    assert not (home / "penstock-demo").exists()
    assert "demo" not in config.read_text()
    assert str(home) not in run("mounts", "--all").stdout  # others on the machine may have theirs


def test_what_is_no_demo_is_not_removed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    told = run("demo", "--remove", str(tmp_path))
    assert told.exit_code == 2
    assert (tmp_path / "precious").exists()
