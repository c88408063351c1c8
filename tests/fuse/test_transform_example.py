"""The example that makes pictures small on workers of Dask, and reads them through a mount with PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import penstock

pytest.importorskip("distributed")
Image = pytest.importorskip("PIL.Image")
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "transform_pictures.py"


def run(*arguments: str | Path) -> list[dict[str, Any]]:
    command = [sys.executable, str(EXAMPLE), *map(str, arguments), "--workers", "1", "--loaders", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.fuse
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_pictures_are_made_small_and_read_through_a_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("PENSTOCK_AUTHOR", "Ada <ada@example.org>")
    penstock.add_remote("demo", str(tmp_path / "store"))
    folder, mountpoint = tmp_path / "pictures", tmp_path / "mount"
    mountpoint.mkdir()
    for number in range(12):
        path = folder / f"{number % 3}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100 + number, 90), (number * 20, 128, 0)).save(path)
    try:
        steps = {each["step"]: each for each in run(folder, "demo/pictures", "demo/small", "--mount", mountpoint)}
    finally:
        subprocess.run(["fusermount3", "-uqz", mountpoint], check=False)  # should it have died
    assert list(steps) == ["push", "map_batch", "transform", "compare", "read"]
    made = steps["transform"]
    assert (steps["push"]["files"], steps["map_batch"]["rows"], made["calls"], made["outputs"]) == (12, 12, 12, 12)
    assert steps["compare"]["rows that differ from the transform"] == []
    assert steps["read"]["pictures"] == 12
    assert made["top_hash"] == penstock.open("demo/small").top_hash
    assert not mountpoint.is_mount()
