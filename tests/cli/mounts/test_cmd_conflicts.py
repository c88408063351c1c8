"""Conflicts of a writable mount, before anything is done about them: predicted, and shown from both sides."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

pytestmark = pytest.mark.fuse
Run = Callable[..., Result]


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + b"\x00\x01"


@pytest.fixture
def edit(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Mount a folder of a dataset, writable, and have others push what is in conflict with what is changed in it."""
    source, there = tmp_path / "things", tmp_path / "edit"
    (source / "d").mkdir(parents=True)
    there.mkdir()
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "64MB")
    rows = [f"{number},x\n" for number in range(9)]
    (source / "d" / "rows.csv").write_text("".join(rows))
    (source / "d" / "picture.png").write_bytes(png(2, 2))
    (source / "d" / "same").write_text("1")
    assert run("remote", "add", "demo", str(tmp_path / "store")).exit_code == 0
    assert run("push", str(source), "demo/things").exit_code == 0
    mounted = run("mount", "-w", "demo/things:main/d", str(there))
    assert mounted.exit_code == 0, mounted.stderr
    try:
        (there / "rows.csv").write_text("".join(["mine,x\n", *rows[1:]]))
        (there / "picture.png").write_bytes(png(640, 480))
        (source / "d" / "rows.csv").write_text("".join([*rows[:-2], "theirs,x\n"]))
        (source / "d" / "picture.png").write_bytes(png(800, 600))
        (source / "d" / "same").write_text("2")
        yield there
    finally:
        run("umount", "--force", str(there))


def test_conflicts_are_predicted_and_shown(run: Run, edit: Path, tmp_path: Path) -> None:
    assert run("commit", str(edit), "--dry-run").exit_code == 0
    assert run("conflicts", str(edit)).exit_code == 0
    assert run("push", str(tmp_path / "things"), "demo/things").exit_code == 0
    told = run("commit", str(edit), "--dry-run")
    assert told.exit_code == 4
    assert "d/rows.csv: modified here, modified on main" in told.stdout
    assert "same" not in told.stdout
    told = run("commit", str(edit), "--dry-run", "--json")
    assert told.exit_code == 4
    assert json.loads(told.stdout)["conflict_count"] == 2
    found = run("conflicts", str(edit), "--json")
    assert found.exit_code == 4
    sides = {each["path"]: each for each in map(json.loads, found.stdout.splitlines())}
    assert sides["d/picture.png"]["pixels_here"] == {"width": 640, "height": 480}
    assert sides["d/picture.png"]["pixels_there"] == {"width": 800, "height": 600}
    assert sides["d/rows.csv"]["rows"] == {"here": 3, "there": 2}
    assert {"-theirs,x", "+mine,x"} <= set(sides["d/rows.csv"]["lines"])
    shown = run("conflicts", str(edit))
    assert "640 x 480 pixels" in shown.stdout
    assert "penstock mount demo/things:" in shown.stderr
    assert "--text" in shown.stderr
    assert "penstock conflicts" in run("refresh", str(edit)).stderr
    # Nothing of this has changed anything: the commit still finds them, and settles them as it is told.
    assert run("commit", str(edit), "-m", "x").exit_code == 4
    assert run("commit", str(edit), "--dry-run", "--ours", "d/rows.csv", "--theirs", "d/picture.png").exit_code == 0
    assert run("commit", str(edit), "-m", "x", "--ours", "/").exit_code == 0
    assert run("cat", "demo/things/d/same").stdout == "2"
    assert run("cat", "demo/things/d/rows.csv").stdout.startswith("mine,x\n")
