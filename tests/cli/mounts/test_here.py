"""Commands that are given no place, or a path: the mount or the unmounted changes that hold it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

pytestmark = pytest.mark.fuse
Run = Callable[..., Result]


@pytest.fixture
def edit(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Mount a dataset of two versions, writable, and stand beside it."""
    source, there = tmp_path / "things", tmp_path / "mnt" / "edit"
    (source / "d").mkdir(parents=True)
    there.mkdir(parents=True)
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "64MB")
    assert run("remote", "add", "demo", str(tmp_path / "store")).exit_code == 0
    for text in ("1", "2"):
        (source / "a").write_text(text)
        (source / "d" / "b").write_text("b")
        assert run("push", str(source), "demo/things", "-m", text).exit_code == 0
    mounted = run("mount", "-w", "demo/things", str(there))
    assert mounted.exit_code == 0, mounted.stderr
    monkeypatch.chdir(tmp_path)
    try:
        yield there
    finally:
        monkeypatch.chdir(tmp_path)
        run("umount", "--force", str(there))


def test_in_a_mount_nothing_need_be_named(run: Run, edit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (edit / "new").write_text("x")
    (edit / "d" / "b").write_text("changed")
    monkeypatch.chdir(edit / "d")
    for arguments, shown in {
        ("status",): "A new",
        ("diff",): "M d/b\nA new",
        ("diff", "b"): "M d/b\n",
        ("diff", "main~1", "main"): "M a\n",
        ("diff", "main~1"): "M a\n",
        ("log", "--oneline"): " 2\n",
        ("log", "main~1", "--oneline"): " 1\n",
        ("show", "@{1}"): "    1\n",
        ("ls",): "b\n",
        ("ls", ":main~1"): "a\nd/\n",
        ("info",): "kind:         directory",
        ("info", "b"): "kind:         file",
        ("cat", "../a"): "2",
    }.items():
        result = run(*arguments)
        assert shown in result.stdout, (arguments, result.stderr)
        assert str(edit) in result.stderr.splitlines()[0], arguments
    assert run("diff", "b").stdout == "M d/b\n"
    assert run("discard", "b").stdout == "restored d/b\n"
    assert run("commit", "-m", "3").exit_code == 0
    assert run("status").stderr.splitlines()[0] == f"penstock: in the mount at {edit}"
    assert run("refresh").exit_code == 0
    assert len(run("log", "--oneline").stdout.splitlines()) == 3


def test_a_path_that_exists_is_a_path(run: Run, edit: Path, tmp_path: Path) -> None:
    (edit / "d" / "b").write_text("changed")
    assert run("diff", "mnt/edit").stdout == "M d/b\n"
    assert run("diff", "mnt/edit/d").stdout == "M d/b\n"
    assert json.loads(run("info", "mnt/edit/a", "--json").stdout)["path"] == "a"
    assert len(run("log", "mnt/edit", "--oneline").stdout.splitlines()) == 2
    for command in ("info", "log", "ls"):
        told = run(command, "things/a")
        assert told.exit_code == 3
        assert "lies in no mount" in told.stderr
        assert run(command).exit_code == 3
    assert run("status", "mnt/edit/d").stdout.splitlines()[-1] == "M d/b"


def test_changes_that_are_not_mounted_are_found_again(
    run: Run, edit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (edit / "new").write_text("x")
    other, elsewhere = tmp_path / "other", tmp_path / "elsewhere"
    other.mkdir()
    assert run("mount", "-w", "demo/things", str(other), "--overlay-dir", str(elsewhere)).exit_code == 0
    (other / "a").unlink()
    done = run("umount", str(other), str(tmp_path / "things"), str(edit))
    assert done.exit_code == 3  # the one in the middle is no mount, which keeps no other one from its end
    assert "nothing is mounted at" in done.stderr
    left = [json.loads(line) for line in run("mounts", "--all", "--json").stdout.splitlines()]
    assert {each["mountpoint"]: each["overlay"] for each in left if each["state"] == "unmounted"}[str(other)] == str(
        elsewhere
    )
    told = run("mounts", "--all")
    assert f"penstock commit {edit}" in told.stderr
    assert "demo/things" in told.stdout
    monkeypatch.chdir(edit)
    assert run("status").stdout.splitlines()[0] == "state:       not mounted"
    assert run("diff").stdout == "A new\n"
    assert run("commit", "-m", "3").exit_code == 0
    monkeypatch.chdir(other)
    assert run("diff").stdout == "D a\n"
    assert run("discard", "--yes").exit_code == 0
    assert str(tmp_path) not in run("mounts", "--all", "--json").stdout
