"""Permission bits and extended attributes, as programs that copy see them, through commits and new mounts."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from views.bucket import LocalBucket

import penstock
from penstock.errors import NotFoundError
from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.unmount import unmount

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]

WRITABLE = MountOptions(writable=True)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep overlays where the test is."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def place(pushed: LocalBucket, mounts: Mount) -> Path:
    """Return the mountpoint of a writable mount of everything."""
    return Path(mounts(options=WRITABLE).mountpoint)


def run(*command: object) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, (command, done.stderr)
    assert done.stderr == b""


def test_copies_take_what_was_set_and_nothing_else(place: Path, tmp_path: Path) -> None:
    path, there = place / "small.txt", tmp_path / "there"
    there.mkdir()
    os.setxattr(path, "user.comment", b"mine")
    os.setxattr(place / "bin", "user.bytes", b"\xff\0\n")
    os.setxattr(path, "user.meta.label", b"cat")
    run("cp", "--preserve=all", path, there / "cp")
    run("rsync", "-aX", f"{place}/bin", path, there)
    shutil.copy2(path, there / "copied")
    run("mv", path, there / "moved")
    for name in ("cp", "small.txt", "copied", "moved"):
        assert {each: os.getxattr(there / name, each) for each in os.listxattr(there / name)} == {
            "user.comment": b"mine",
            "user.meta.label": b"cat",
        }
    assert os.getxattr(there / "bin", "user.bytes") == b"\xff\0\n"
    os.setxattr(there / "moved", "user.penstock.hash", b"of a copy that was made long ago")
    run("mv", there / "moved", path)
    run("rsync", "-aX", f"{there}/bin/", place / "back")
    assert sorted(os.listxattr(path)) == ["user.comment", "user.meta.label"]
    assert os.getxattr(place / "back", "user.bytes") == b"\xff\0\n"


def test_attributes_have_bounds(place: Path) -> None:
    path = place / "small.txt"

    def refusal(name: str, value: bytes, flags: int = 0) -> int | None:
        with pytest.raises(OSError, match=r".") as told:
            os.setxattr(path, name, value, flags)
        return told.value.errno

    os.setxattr(path, "user.long", b"x" * 60_000)
    assert refusal("user.more", b"x" * 10_000) == errno.ENOSPC
    assert refusal("user.long", b"x", os.XATTR_CREATE) == errno.EEXIST
    assert refusal("user.none", b"x", os.XATTR_REPLACE) == errno.ENODATA
    assert refusal("trusted.overlay.opaque", b"y") == errno.EOPNOTSUPP
    assert os.getxattr(path, "user.long") == b"x" * 60_000
    os.removexattr(path, "user.long")
    with pytest.raises(OSError, match="No data"):
        os.removexattr(path, "user.long")
    assert os.listxattr(path) == []


def test_a_commit_keeps_modes_and_attributes(place: Path, pushed: LocalBucket, mounts: Mount) -> None:
    (place / "secret").write_text("for nobody else")
    modes = {"secret": 0o600, "small.txt": 0o640, "names": 0o700, "empty-folder": 0o1777, "bin/hello": 0o4755}
    modes |= {"old": 0o444, "": 0o750}
    for name, mode in modes.items():
        os.chmod(place / name, mode)
    os.chmod(place / "big.bin", 0o664)
    os.setxattr(place / "secret", "user.comment", b"mine")
    os.setxattr(place, "user.of", b"the root")
    assert penstock.Workspace(place, pushed.settings).commit(author="me").changed
    for options in (WRITABLE, MountOptions()):
        assert unmount(str(place))
        mounts(options=options)
        for name, mode in modes.items():
            assert stat.S_IMODE((place / name).stat().st_mode) == mode, name
        assert stat.S_IMODE((place / "big.bin").stat().st_mode) == 0o644
        assert os.getxattr(place / "secret", "user.comment") == b"mine"
        assert os.getxattr(place, "user.of") == b"the root"
    assert unmount(str(place))
    mounts(options=MountOptions(writable=True, umask=0o077))
    assert stat.S_IMODE((place / "big.bin").stat().st_mode) == 0o600
    assert stat.S_IMODE((place / "small.txt").stat().st_mode) == 0o600
    for name in ("big.bin", "small.txt"):  # what the mask hides is not what is committed
        with open(place / name, "ab") as file:
            file.write(b"more")
    os.chmod(place / "names", 0o755)
    assert penstock.Workspace(place, pushed.settings).commit(author="me").changed
    assert unmount(str(place))
    mounts(options=WRITABLE)
    found = {name: stat.S_IMODE((place / name).stat().st_mode) for name in ("big.bin", "small.txt", "names")}
    assert found == {"big.bin": 0o644, "small.txt": 0o640, "names": 0o755}


def test_a_mode_is_a_change_like_any_other(place: Path, pushed: LocalBucket) -> None:
    os.chmod(place / "small.txt", 0o600)
    os.chmod(place / "names", 0o700)
    os.chmod(place / "big.bin", 0o664)  # what a umask may leave is none
    told = [(line.kind, line.path) for line in penstock.Workspace(place, pushed.settings).changes()]
    assert told == [("M", "names"), ("M", "small.txt")]
    penstock.Workspace(place, pushed.settings).discard(["small.txt"])
    assert stat.S_IMODE((place / "small.txt").stat().st_mode) == 0o644
    penstock.Workspace(place, pushed.settings).commit(author="me")
    os.chmod(place / "names", 0o755)
    penstock.Workspace(place, pushed.settings).discard([])
    assert stat.S_IMODE((place / "names").stat().st_mode) == 0o700


def test_stat_says_what_a_path_is(place: Path, pushed: LocalBucket) -> None:
    path = place / "small.txt"
    found = penstock.stat(path)
    assert (found.kind, found.size, found.mode, found.links) == ("file", 12, 0o644, 1)
    assert found.top_hash == os.getxattr(place, "user.penstock.top_hash").decode()
    assert found.commit is not None
    assert (found.cached, found.blocks) == (0, 1)
    assert found.physical is not None
    assert sum(place.length for place in found.physical) == 12
    assert str(pushed.directory) in found.physical[0].uri
    assert (found.metadata, found.attributes) == ({}, {})
    os.setxattr(path, "user.meta.label", b"cat")
    os.setxattr(path, "user.comment", b"\xff")
    path.write_text("changed")
    found = penstock.stat(path)
    assert (found.hash, found.cached, found.physical) == (None, None, ())
    assert (found.metadata, found.attributes) == ({"label": "cat"}, {"user.comment": b"\xff"})
    assert penstock.stat(place / "dangling").kind == "symlink"
    assert penstock.stat(place).kind == "directory"
    with pytest.raises(NotFoundError, match="in no mount"):
        penstock.stat(place.parent)
    with pytest.raises(NotFoundError, match="there is no"):
        penstock.stat(place / "nothing")


def test_a_push_keeps_them_when_asked_for(demo: LocalBucket, source: Path, mounts: Mount, tmp_path: Path) -> None:
    os.chmod(source / "old", 0o600)
    os.chmod(source / "names", 0o700)
    os.setxattr(source / "old", "user.comment", b"\xff")
    os.setxattr(source / "names", "user.meta.label", b"cat")
    os.setxattr(source / "old", "user.penstock.hash", b"of a copy that was made long ago")
    plain = penstock.hash_directory(source).top_hash
    dataset = penstock.Dataset("demo/data", demo.settings)
    assert dataset.push(source).top_hash == plain
    kept = dataset.push(source, modes=True, xattrs=True).top_hash
    assert kept != plain
    assert penstock.hash_directory(source, modes=True, xattrs=True).top_hash == kept
    place = Path(mounts().mountpoint)
    assert stat.S_IMODE((place / "old").stat().st_mode) == 0o600
    assert stat.S_IMODE((place / "names").stat().st_mode) == 0o700
    assert stat.S_IMODE((place / "small.txt").stat().st_mode) == 0o644
    assert {name: os.getxattr(place / "old", name) for name in os.listxattr(place / "old")} == {"user.comment": b"\xff"}
    assert penstock.stat(place / "names").metadata == {"label": "cat"}
    run("cp", "-a", place, tmp_path / "copy")  # and back: it is the same
    assert penstock.hash_directory(tmp_path / "copy", modes=True, xattrs=True).top_hash == kept
