"""Hard links in a writable mount, as the programs make them that archive, copy and install."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from views.bucket import LocalBucket, write_tree
from views.memory import Made, Spec

import penstock
from penstock.mountpoint.known_mounts import MountInfo, list_mounts
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.unmount import unmount

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]

WRITABLE = MountOptions(writable=True)
SPEC: Spec = {
    b"big": Made(bytes(range(256)) * 8192),
    b"folder": {b"%03d" % number: Made(b"%d" % number) for number in range(300)},
}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep overlays where the test is."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def place(demo: LocalBucket, mounts: Mount, tmp_path: Path) -> Path:
    """Return the mountpoint of a writable mount of SPEC."""
    write_tree(tmp_path / "source", SPEC)
    demo.push(tmp_path / "source")
    return Path(mounts(options=WRITABLE).mountpoint)


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """Return a directory with a file of three names, and a symlink of two."""
    folder = tmp_path / "linked"
    (folder / "below").mkdir(parents=True)
    (folder / "one").write_text("one content\n")
    os.link(folder / "one", folder / "two")
    os.link(folder / "one", folder / "below" / "three")
    (folder / "sym").symlink_to("one")
    os.link(folder / "sym", folder / "sym-too", follow_symlinks=False)
    return folder


def run(*command: object, cwd: Path | None = None, stdin: bytes = b"") -> bytes:
    done = subprocess.run(list(map(str, command)), input=stdin, capture_output=True, check=False, cwd=cwd, timeout=60)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def check(folder: Path, names: int = 3) -> None:
    """See that a folder has what `linked` has, and each file as many names."""
    found = [os.lstat(folder / path) for path in ("one", "two", "below/three")]
    assert len({facts.st_ino for facts in found}) == 1
    assert {facts.st_nlink for facts in found} == {names}
    assert (folder / "below" / "three").read_text() == "one content\n"
    assert os.lstat(folder / "sym").st_ino == os.lstat(folder / "sym-too").st_ino
    assert os.readlink(folder / "sym-too") == "one"


def test_programs_that_archive_and_copy_make_them(place: Path, linked: Path) -> None:
    (place / "tar").mkdir()
    run("tar", "xf", "-", "-C", place / "tar", stdin=run("tar", "cf", "-", "-C", linked, "."))
    check(place / "tar")
    (place / "cpio").mkdir()
    names = run("find", ".", cwd=linked)
    archive = run("cpio", "-o", "-H", "newc", "--quiet", cwd=linked, stdin=names)
    run("cpio", "-id", "--quiet", cwd=place / "cpio", stdin=archive)
    assert (place / "cpio" / "one").stat().st_nlink == 3
    assert (place / "cpio" / "two").read_text() == "one content\n"
    run("rsync", "-aH", f"{linked}/", place / "rsync")
    check(place / "rsync")
    run("cp", "-a", linked, place / "cp")
    check(place / "cp")
    run("cp", "-al", place / "cp", place / "linked")
    check(place / "linked", names=6)
    run("cp", "-al", place / "folder", place / "again")
    assert (place / "folder" / "007").stat().st_nlink == 2
    assert (place / "again" / "007").read_text() == "7"


def test_they_are_there_after_a_kill_and_after_mounting_again(place: Path, linked: Path, mounts: Mount) -> None:
    run("cp", "-a", linked, place / "cp")
    os.link(place / "big", place / "cp" / "big")
    worker = next(info.worker_pid for info in list_mounts() if info.mountpoint == str(place))
    assert worker is not None
    os.kill(worker, signal.SIGKILL)
    check(place / "cp")
    assert unmount(str(place))
    mounts(options=WRITABLE)
    check(place / "cp")
    with open(place / "cp" / "big", "r+b") as file:
        file.write(b"changed")
    assert (place / "big").read_bytes()[:8] == b"changed\x07"
    assert (place / "big").stat().st_nlink == 2
    (place / "big").unlink()
    assert (place / "cp" / "big").stat().st_nlink == 1
    assert (place / "cp" / "big").stat().st_size == 2 << 20


def test_a_listing_names_each_once_while_they_are_made(place: Path) -> None:
    """What the version has keeps its place in the listing when it gets another name."""
    (place / "other").mkdir()
    seen = []
    with os.scandir(place / "folder") as listing:
        for item in listing:
            seen.append(item.name)
            os.link(item.path, place / "other" / item.name)
    assert sorted(seen) == sorted(os.listdir(place / "folder")) == sorted(os.listdir(place / "other"))


def test_what_cannot_be_linked_is_refused(place: Path) -> None:
    with pytest.raises(PermissionError):
        os.link(place / "folder", place / "other")
    with pytest.raises(FileExistsError):
        os.link(place / "big", place / "folder")
    with open(place / "big", "rb") as file:
        (place / "big").unlink()
        assert os.fstat(file.fileno()).st_nlink == 0


def test_a_commit_has_each_name_as_a_file(place: Path, linked: Path, mounts: Mount, demo: LocalBucket) -> None:
    run("cp", "-a", linked, place / "cp")
    os.link(place / "big", place / "cp" / "big")
    with open(place / "cp" / "big", "ab") as file:
        file.write(b"the end")
    report = penstock.Workspace(place, demo.settings).commit(author="me")
    assert report.files == 2  # what has several names is read once
    check(place / "cp")  # as long as this mount lasts
    (place / "cp" / "one").write_text("again\n")
    assert [(line.kind, line.path) for line in penstock.Workspace(place, demo.settings).changes()] == [
        ("M", "cp/below/three"),
        ("M", "cp/one"),
        ("M", "cp/two"),
    ]
    penstock.Workspace(place, demo.settings).discard(["cp/two"])
    assert (place / "cp" / "two").read_text() == "one content\n"
    assert (place / "cp" / "one").read_text() == (place / "cp" / "below" / "three").read_text() == "again\n"
    assert (place / "cp" / "one").stat().st_nlink == 2
    penstock.Workspace(place, demo.settings).commit(author="me")
    assert unmount(str(place))
    mounts(options=WRITABLE)
    assert [(place / "cp" / name).stat().st_nlink for name in ("one", "two", "big")] == [1, 1, 1]
    assert (place / "cp" / "below" / "three").read_text() == "again\n"
    assert (place / "big").read_bytes() == (place / "cp" / "big").read_bytes()
    assert (place / "big").read_bytes()[-7:] == b"the end"


def test_what_is_rescued_and_what_is_downloaded_has_each_name_as_a_file(
    place: Path, linked: Path, demo: LocalBucket, tmp_path: Path
) -> None:
    run("cp", "-a", linked, place / "cp")
    os.link(place / "big", place / "cp" / "big")
    with open(place / "cp" / "big", "ab") as file:
        file.write(b"the end")
    whole = (place / "big").read_bytes()
    assert unmount(str(place))
    workspace = penstock.Workspace(place, demo.settings)
    rescued = workspace.rescue(tmp_path / "saved")
    assert rescued.left == 0
    workspace.commit(author="me")
    penstock.Package("demo/data", demo.settings).download(tmp_path / "copy")
    for folder in (tmp_path / "saved", tmp_path / "copy"):
        for name in ("one", "two", "below/three", "sym-too"):
            assert (folder / "cp" / name).read_text() == "one content\n"
        assert os.readlink(folder / "cp" / "sym") == "one"
        assert (folder / "big").read_bytes() == (folder / "cp" / "big").read_bytes() == whole
    (tmp_path / "copy" / "cp" / "one").write_text("again\n")  # names of a copy are files of their own
    assert (tmp_path / "copy" / "cp" / "two").read_text() == "one content\n"
