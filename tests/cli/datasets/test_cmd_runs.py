"""``penstock runs`` and what ``penstock reproduce`` refuses; on the disk and on S3."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from trees.directory import write

import penstock

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "256MB")
    monkeypatch.setenv("PENSTOCK_AUTHOR", "Tester <t@example.org>")


def train(handle: str, name: str) -> str:
    with penstock.open(handle):
        stamp = penstock.stamp()
        stamp["opened"] = [each for each in stamp["opened"] if each["handle"] == handle]
    (made,) = penstock.record_run(name, stamp=stamp, url="https://example.org/run")
    return made.run


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def photos(request: pytest.FixtureRequest, run: Run, tmp_path: Path) -> str:
    if request.param == "local":
        assert run("remote", "add", "demo", str(tmp_path / "store")).exit_code == 0
        name = "demo/photos"
    else:
        request.getfixturevalue("aws_environment")
        name = f"{request.getfixturevalue('bucket')}/photos"
    folder = write(tmp_path / "photos", {"train/a.jpg": b"a", "test/b.jpg": b"b"})
    assert run("push", str(folder), name, "--tag", "v1").exit_code == 0
    write(folder, {"train/leaked.jpg": b"b"})
    assert run("push", str(folder), name, "--tag", "v2").exit_code == 0
    return name


def test_runs_are_listed_and_kept_by_gc(run: Run, photos: str, tmp_path: Path) -> None:
    assert run("runs", photos).stderr.endswith(f"no run is recorded on {photos}\n")
    first, second = train(f"{photos}:v1/train", "clean"), train(f"{photos}:v2/train", "tainted")
    shown = run("runs", photos).stdout
    assert f"{second[:12]} tainted\n" in shown
    assert f"  on {photos}:v1/train, top hash " in shown
    assert "  see https://example.org/run\n" in shown
    assert [json.loads(line)["run"] for line in run("runs", f"{photos}:v1", "--json").stdout.splitlines()] == [first]
    by_file = run("runs", f"{photos}:v2", "--file", "test/b.jpg", "--json").stdout.splitlines()
    assert [(json.loads(line)["name"], json.loads(line)["has_file"]) for line in by_file] == [("tainted", "yes")]
    assert run("runs", photos, "--file", "none").exit_code == 3
    assert run("gc", photos.partition("/")[0], "--json").exit_code == 0
    for stamp, code in (("none.json", 3), (f"{photos}@1234567", 3), (str(tmp_path), 6)):
        assert run("reproduce", stamp, str(tmp_path / "mnt")).exit_code == code
    (tmp_path / "bad.json").write_text('{"penstock": 1}')
    assert run("reproduce", str(tmp_path / "bad.json"), str(tmp_path / "mnt")).exit_code == 2
    assert not (tmp_path / "mnt").exists()
