"""``penstock commit``, ``diff``, ``refresh`` and ``discard`` of real writable mounts: what they say, and exit with."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

pytestmark = pytest.mark.fuse
Run = Callable[..., Result]


@pytest.fixture
def mount(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Push ``demo/things``; return what mounts it writable at a name."""
    source = tmp_path / "things"
    (source / "sub").mkdir(parents=True)
    (source / "a").write_bytes(b"text\n")
    (source / "sub" / "b").write_bytes(b"below\n")
    monkeypatch.setenv("PENSTOCK_CACHE_SIZE", "64MB")
    monkeypatch.setenv("PENSTOCK_AUTHOR", "Tester <t@example.org>")
    made: list[Path] = []

    def begin(name: str = "mnt", *options: str) -> Path:
        there = tmp_path / name
        there.mkdir(exist_ok=True)
        done = run("mount", *(options or ("--writable",)), "demo/things", str(there))
        assert done.exit_code == 0, done.stderr
        made.append(there)
        return there

    assert run("remote", "add", "demo", str(tmp_path / "store")).exit_code == 0
    assert run("push", str(source), "demo/things").exit_code == 0
    try:
        yield begin
    finally:
        for there in made:
            if os.path.ismount(there):
                assert run("umount", "--force", str(there)).exit_code == 0


def as_json(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_commit_in_text(run: Run, mount: Callable[..., Path]) -> None:
    place = mount()
    assert run("commit", str(place)).stdout == "nothing to commit\n"
    (place / "new").write_bytes(b"new\n")
    dry = run("commit", str(place), "--dry-run")
    assert "none: nothing was sent" in dry.stdout
    assert run("diff", str(place)).exit_code == 1
    done = run("commit", str(place), "-m", "one more", "--tag", "v2")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "demo/things and tag v2"
    assert lines[1] == f"  top hash  {as_json(run('info', 'demo/things:v2', '--json'))['top_hash']}"
    assert lines[3] == "  content   1 changed files, 4 B"
    assert lines[4].startswith("  uploaded  4 B of data, ")
    assert run("cat", "demo/things:v2/new").stdout == "new\n"
    shown = run("show", "demo/things").stdout
    assert "one more" in shown
    assert "Tester <t@example.org>" in shown
    assert run("diff", str(place)).exit_code == 0


def test_what_was_made_and_removed_again_is_not_said_to_be_kept(run: Run, mount: Callable[..., Path]) -> None:
    place = mount()
    (place / "a").unlink()
    assert run("commit", str(place)).exit_code == 0
    (place / "a").write_bytes(b"for a moment")
    (place / "a").unlink()
    (place / "sub" / "b").rename(place / "b")
    (place / "b").rename(place / "sub" / "b")
    assert run("diff", str(place)).exit_code == 0
    told = run("umount", str(place))
    assert (told.exit_code, told.stdout, told.stderr) == (0, "", "")
    mount()
    (place / "new").write_bytes(b"kept")
    assert "what was changed is kept" in run("umount", str(place)).stderr
    assert run("discard", "--yes", str(place)).exit_code == 0


def test_after_a_logout_a_mount_is_asked_as_before(
    run: Run, mount: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    place = mount()
    (place / "new").write_bytes(b"new\n")
    shutil.rmtree(tmp_path / "run")
    assert run("diff", str(place)).stdout == "A new\n"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert run("status", str(place)).exit_code == 0
    assert run("commit", str(place)).exit_code == 0
    (place / "new").write_bytes(b"other\n")
    assert run("discard", str(place), "new").exit_code == 0
    # Who cannot find it is told so, and never that the overlay is free, or in use by somebody.
    (place / "more").write_bytes(b"more\n")
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
        for command in (("commit",), ("diff",), ("discard", "--yes"), ("status",)):
            done = run(*command[:1], str(place), *command[1:])
            assert done.exit_code == 6
            assert "cannot be asked" in done.stderr
    assert run("diff", str(place)).stdout == "A more\n"
    assert run("umount", str(place)).exit_code == 0
    # And a read-only mount is not told of the overlay that the last one left.
    assert run("mount", "demo/things", str(place)).exit_code == 0
    assert "read-only" in run("diff", str(place)).stderr


def test_commit_in_json(run: Run, mount: Callable[..., Path]) -> None:
    place = mount()
    (place / "a").write_bytes(b"other\n")
    found = as_json(run("commit", str(place), "--branch", "beside", "--json"))
    assert (found["handle"], found["branch"], found["changed"]) == ("demo/things:beside", "beside", True)
    assert (found["files"], found["bytes"], found["bytes_uploaded"], found["merged_with"]) == (1, 6, 6, None)
    assert found["commit"] == as_json(run("info", "demo/things:beside", "--json"))["commit"]
    again = as_json(run("commit", str(place), "--json"))
    assert (again["changed"], again["commit"]) == (False, None)
    assert run("cat", "demo/things/a").stdout == "text\n"


def test_a_clean_mount_gives_its_version_names(run: Run, mount: Callable[..., Path]) -> None:
    place = mount()
    version = as_json(run("info", "demo/things", "--json"))["commit"]
    done = run("commit", str(place), "--tag", "v1", "--branch", "beside")
    assert done.stdout == (f"nothing to commit; the version is branch beside and tag v1 now\n  commit    {version}\n")
    assert as_json(run("info", "demo/things:v1", "--json"))["commit"] == version
    (place / "a").write_bytes(b"other\n")
    assert run("commit", str(place)).stdout.startswith("demo/things:beside\n")
    found = run("commit", str(place), "--tag", "v1")
    assert (found.exit_code, found.stdout) == (4, "")
    assert "tags never move" in found.stderr


def test_a_conflict(run: Run, mount: Callable[..., Path]) -> None:
    place, other = mount(), mount("other")
    (place / "a").write_bytes(b"mine\n")
    (other / "a").write_bytes(b"theirs\n")
    assert run("commit", str(other)).exit_code == 0
    told = run("commit", str(place))
    assert (told.exit_code, told.stdout) == (4, "")
    assert "    a: modified on main, modified here" in told.stderr
    error = json.loads(run("commit", str(place), "--json").stderr)["error"]
    assert (error["kind"], error["candidates"]) == ("merge_conflict", ["a: modified on main, modified here"])
    assert (place / "a").read_bytes() == b"mine\n"
    done = run("commit", str(place), "--ours", "a")
    assert done.exit_code == 0
    assert "which landed meanwhile" in done.stdout
    assert run("cat", "demo/things/a").stdout == "mine\n"


def test_refresh(run: Run, mount: Callable[..., Path]) -> None:
    place, other = mount(), mount("other")
    assert run("refresh", str(place)).stdout == "demo/things is where it was\n"
    (other / "sub" / "b").write_bytes(b"theirs\n")
    report = as_json(run("commit", str(other), "--json"))
    (place / "a").write_bytes(b"mine\n")
    refused = run("refresh", str(place))
    assert refused.exit_code == 4
    assert "--rebase" in refused.stderr
    found = as_json(run("refresh", str(place), "--rebase", "--json"))
    assert (found["moved"], found["changes"], found["top_hash"]) == (True, 1, report["top_hash"])
    assert (place / "sub" / "b").read_bytes() == b"theirs\n"
    assert run("diff", str(place)).stdout == "M a\n"


def test_status_and_diff(run: Run, mount: Callable[..., Path]) -> None:
    place = mount()
    (place / "a").write_bytes(b"longer than it was\n")
    os.rename(place / "sub", place / "moved")
    status = run("status", str(place))
    assert "M a\nR sub/ -> moved/\n" in status.stdout
    assert "2 changes since the last commit" in status.stderr
    assert as_json(run("status", str(place), "--json"))["changed"] == 2
    told = run("diff", str(place), "--json")
    assert told.exit_code == 1
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    found = [(line["change"], line["path"], line["old_path"]) for line in lines]
    assert found == [("modified", "a", None), ("renamed", "moved", "sub")]
    assert run("diff", str(place), "moved").stdout == "R sub/ -> moved/\n"
    assert run("diff", str(place), "--stat").stdout == "0 added, 1 modified, 0 deleted, 1 renamed (+19 B, -5 B)\n"


def test_discard(run: Run, mount: Callable[..., Path]) -> None:
    place = mount()
    (place / "a").write_bytes(b"other\n")
    (place / "new").mkdir()
    (place / "new" / "file").write_bytes(b"new")
    os.remove(place / "sub" / "b")
    refused = run("discard", str(place))
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--yes" in refused.stderr
    dry = run("discard", str(place), "--dry-run")
    assert dry.stdout == "removed  new\nrestored a\nrestored sub/b\n"
    assert "nothing was changed" in dry.stderr
    assert (place / "a").read_bytes() == b"other\n"
    assert run("discard", str(place), "sub/b").stdout == "restored sub/b\n"
    missing = run("discard", str(place), "sub")
    assert (missing.exit_code, missing.stdout) == (3, "")
    assert "nothing has changed at 'sub'" in missing.stderr
    done = run("discard", str(place), "--yes", "--json")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"kind": "removed", "path": "new", "directory": False},
        {"kind": "restored", "path": "a", "directory": False},
    ]
    assert (place / "a").read_bytes() == b"text\n"
    assert sorted(os.listdir(place)) == ["a", "sub"]
    again = run("discard", str(place), "--yes")
    assert (again.exit_code, again.stdout, again.stderr) == (0, "", "penstock: No changes\n")


@pytest.mark.parametrize(("answer", "code", "left"), [("n", 1, b"other\n"), ("y", 0, b"text\n")])
def test_discard_asks_on_a_terminal(run: Run, mount: Callable[..., Path], answer: str, code: int, left: bytes) -> None:
    place = mount()
    (place / "a").write_bytes(b"other\n")
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "discard", str(place)],
        stdin=secondary,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        os.write(primary, f"{answer}\n".encode())
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
        os.close(secondary)
        os.close(primary)
    assert process.returncode == code
    assert f"Discard all changes in {place}?" in stderr
    assert stdout == ("restored a\n" if answer == "y" else "")
    assert (place / "a").read_bytes() == left


def test_what_is_unmounted(run: Run, mount: Callable[..., Path]) -> None:
    place = mount()
    (place / "a").write_bytes(b"other\n")
    (place / "new").write_bytes(b"new\n")
    done = run("umount", str(place))
    assert (done.exit_code, done.stdout) == (0, "")
    assert f"penstock commit {place} commits it" in done.stderr
    assert run("diff", str(place)).stdout == "M a\nA new\n"
    assert run("discard", str(place), "a").stdout == "restored a\n"
    assert as_json(run("commit", str(place), "--json"))["files"] == 1
    assert (run("cat", "demo/things/a").stdout, run("cat", "demo/things/new").stdout) == ("text\n", "new\n")


def test_unmounting_tells_of_changes_that_are_left(run: Run, mount: Callable[..., Path], tmp_path: Path) -> None:
    overlay = str(tmp_path / "changes")
    place = mount("mnt", "--writable", "--overlay-dir", overlay)
    assert run("umount", str(place)).stderr == ""
    mount("mnt", "--writable", "--overlay-dir", overlay)
    (place / "new").write_bytes(b"new\n")
    assert f"penstock commit {place} commits it" in run("umount", str(place)).stderr
    mount("mnt", "--writable", "--overlay-dir", overlay)
    found = as_json(run("umount", str(place), "--json"))
    assert found == {"mountpoint": str(place), "ended": True, "elsewhere": [], "changes": str(place)}
    assert run("commit", overlay).exit_code == 0
    mount("mnt", "--cache-size", "64MB")
    found = as_json(run("umount", str(place), "--json"))
    assert found == {"mountpoint": str(place), "ended": True, "elsewhere": [], "changes": None}


def test_unmounting_what_was_mounted_by_an_address_tells_of_changes_too(run: Run, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a").write_bytes(b"a")
    handle, place = f"file://{tmp_path}/store/photos", tmp_path / "mnt"
    place.mkdir()
    for command in (("push", str(tmp_path / "photos"), handle), ("mount", "--writable", handle, str(place))):
        assert run(*command).exit_code == 0, command
    (place / "new").write_bytes(b"new\n")
    assert f"penstock commit {place} commits it" in run("umount", str(place)).stderr


def test_where_there_is_nothing(run: Run, mount: Callable[..., Path], tmp_path: Path) -> None:
    mount("plain", "--cache-size", "64MB")
    for command in (("commit",), ("discard", "--yes"), ("diff",)):
        missing = run(*command, str(tmp_path))
        assert (missing.exit_code, missing.stdout) == (3, ""), command
        read_only = run(*command, str(tmp_path / "plain"))
        assert (read_only.exit_code, read_only.stdout) == (2, ""), (command, read_only.stderr)
    assert run("commit").exit_code == 3


@pytest.mark.parametrize("command", ["commit", "discard", "refresh"])
def test_help(run: Run, command: str) -> None:
    told = run(command, "--help")
    assert told.exit_code == 0
    assert f"  penstock {command} /mnt/edit" in told.stdout
