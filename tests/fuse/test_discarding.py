"""Give up what was changed in a real writable mount, in use and left behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from views.bucket import LocalBucket
from views.living import until

from penstock.errors import ConflictError, NotFoundError
from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.unmount import unmount
from penstock.mountpoint.working_copy.working_copy import open_working_copy
from penstock.overlay.commit.commit_options import CommitOptions
from penstock.progress import SILENT

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]
WRITABLE = MountOptions(writable=True)


@pytest.fixture
def place(pushed: LocalBucket, mounts: Mount) -> Path:
    """Return the mountpoint of a writable mount of everything."""
    return Path(mounts(options=WRITABLE).mountpoint)


def give_up(place: Path, bucket: LocalBucket, *paths: str, dry_run: bool = False) -> list[str]:
    lines = open_working_copy(str(place), bucket.settings).discard(paths, dry_run=dry_run)
    return [f"{line.kind} {line.path}{'/' if line.directory else ''}" for line in lines]


def lines(place: Path, bucket: LocalBucket) -> list[str]:
    return [f"{line.kind} {line.path}" for line in open_working_copy(str(place), bucket.settings).changes()]


def content(place: Path) -> dict[str, object]:
    """Return all that a version keeps of a directory."""
    found: dict[str, object] = {}
    for folder, folders, files in os.walk(os.fsencode(place)):
        for name in folders + files:
            path = os.path.join(folder, name)
            key = os.fsdecode(os.path.relpath(path, os.fsencode(place)))
            if os.path.islink(path):
                found[key] = os.readlink(path)
            elif os.path.isdir(path):
                found[key] = None
            else:
                with open(path, "rb") as stream:
                    found[key] = (stream.read(), bool(os.stat(path).st_mode & 0o100))
    return found


def change_much(place: Path) -> None:
    (place / "small.txt").write_text("changed\n")
    with open(place / "big.bin", "r+b") as stream:
        stream.seek(2_500_000)
        stream.write(b"in the middle")
    (place / "new" / "deep").mkdir(parents=True)
    (place / "new" / "deep" / "file").write_bytes(b"x" * 100_000)
    os.rename(place / "names", place / "moved")
    (place / "moved" / "more").write_bytes(b"more")
    os.remove(place / "moved" / "comma,back\\slash")
    os.rename(place / "bin", place / "new" / "bin")
    os.remove(place / "old")
    os.chmod(place / "empty", 0o755)
    os.setxattr(place, "user.meta.title", b"a title")


def test_everything(place: Path, pushed: LocalBucket) -> None:
    before = content(place)
    change_much(place)
    changed = content(place)
    told = give_up(place, pushed, dry_run=True)
    assert content(place) == changed
    assert give_up(place, pushed) == told
    assert {"removed new", "removed moved", "restored names/", "restored bin/", "restored small.txt"} <= set(told)
    assert content(place) == before
    assert lines(place, pushed) == []
    assert "user.meta.title" not in os.listxattr(place)
    assert give_up(place, pushed) == []
    report = open_working_copy(str(place), pushed.settings).commit(CommitOptions("me"), SILENT)
    assert not report.changed


def test_what_is_open_goes_on(place: Path, pushed: LocalBucket) -> None:
    with open(place / "new", "w+b", buffering=0) as added, open(place / "small.txt", "r+b", buffering=0) as kept:
        added.write(b"added")
        kept.write(b"HELLO")
        os.rename(place / "old", place / "older")
        with open(place / "older", "rb", buffering=0) as renamed:
            give_up(place, pushed)
            assert not (place / "new").exists()
            assert not (place / "older").exists()
            assert os.pread(added.fileno(), 10, 0) == b"added"
            assert os.pread(renamed.fileno(), 10, 0) == b"old"
        assert os.pread(kept.fileno(), 100, 0) == (place / "small.txt").read_bytes() == b"hello world\n"
        kept.seek(0)
        kept.write(b"again")
        assert (place / "small.txt").read_bytes() == b"again world\n"
    assert lines(place, pushed) == ["M small.txt"]


def test_paths(place: Path, pushed: LocalBucket) -> None:
    before = content(place)
    change_much(place)
    assert give_up(place, pushed, "small.txt", "names") == ["removed moved", "restored names/", "restored small.txt"]
    now = content(place)
    assert {path: what for path, what in now.items() if path.startswith("names")} == {
        path: what for path, what in before.items() if path.startswith("names")
    }
    assert (place / "small.txt").read_bytes() == b"hello world\n"
    assert (place / "new" / "deep" / "file").exists()
    assert "M small.txt" not in lines(place, pushed)
    with pytest.raises(NotFoundError, match="big"):
        give_up(place, pushed, "big.bin", "big")
    assert "M big.bin" in lines(place, pushed)


def test_what_has_nowhere_to_go_back_to_changes_nothing(place: Path, pushed: LocalBucket) -> None:
    os.rename(place / "bin" / "hello", place / "hello")
    os.remove(place / "bin" / "again")
    os.rmdir(place / "bin")
    (place / "hello").write_bytes(b"mine")
    with pytest.raises(ConflictError, match="bin/hello"):
        give_up(place, pushed, "hello")
    assert (place / "hello").read_bytes() == b"mine"
    assert "removed hello" in give_up(place, pushed, "hello", "bin")
    assert lines(place, pushed) == []


def test_after_a_commit_and_unmounted(place: Path, pushed: LocalBucket, mounts: Mount) -> None:
    change_much(place)
    open_working_copy(str(place), pushed.settings).commit(CommitOptions("me"), SILENT)
    before = content(place)
    (place / "moved" / "more").write_bytes(b"less")
    os.rename(place / "new", place / "newer")
    assert unmount(str(place))
    assert give_up(place, pushed) == ["removed newer", "restored moved/more", "restored new/"]
    assert give_up(place, pushed) == []
    mounts(options=WRITABLE)
    assert content(place) == before
    assert os.getxattr(place, "user.meta.title") == b"a title"


def test_metadata_of_the_version_is_on_the_mountpoint(place: Path, pushed: LocalBucket, mounts: Mount) -> None:
    os.setxattr(place, "user.meta.title", b"a title")
    os.setxattr(place / "bin", "user.meta.what", b"programs")
    assert lines(place, pushed) == ["M ", "M bin"]
    open_working_copy(str(place), pushed.settings).commit(CommitOptions("me"), SILENT)
    other = Path(mounts(at="other").mountpoint)
    assert os.getxattr(other, "user.meta.title") == os.getxattr(place, "user.meta.title") == b"a title"
    assert "user.meta.title" in os.listxattr(other)
    folder = Path(mounts("demo/data:main/bin", at="folder").mountpoint)
    assert os.getxattr(folder, "user.meta.what") == b"programs"
    assert "user.meta.title" not in os.listxattr(folder)
    second = Path(mounts(at="second", options=WRITABLE).mountpoint)
    os.setxattr(second, "user.meta.more", b"more")
    open_working_copy(str(second), pushed.settings).commit(CommitOptions("me"), SILENT)
    third = Path(mounts(at="third").mountpoint)
    assert [os.getxattr(third, f"user.meta.{key}") for key in ("title", "more")] == [b"a title", b"more"]


def test_files_that_a_crash_has_left_go(place: Path, pushed: LocalBucket, mounts: Mount) -> None:
    (place / "new").write_bytes(b"new")
    assert unmount(str(place))
    data = next(Path(os.environ["XDG_STATE_HOME"]).rglob("data"))
    strays = [data / "34" / f"{0x1003400 + number:x}.0" for number in range(20)]
    strays += [data / "heads" / f"{0x1003400 + number:x}.0" for number in range(20)]
    strays[0].parent.mkdir()
    for stray in strays:
        stray.write_bytes(b"left by a crash")
    # Beside what is named, in the file with the first MiB of both.
    (shared,) = [path for path in (data / "heads").iterdir() if path not in strays]
    with open(shared, "r+b") as stream:
        stream.seek(63 << 20)
        stream.write(b"left by a crash" * 10_000)
        stream.flush()
        taken = os.fstat(stream.fileno()).st_blocks
    mounts(options=WRITABLE)
    # To look at what changed writes the tables, after which they go.
    until(lambda: bool(lines(place, pushed)) and not any(stray.exists() for stray in strays), "the end of strays", 60)
    until(lambda: shared.stat().st_blocks <= taken - 290, "the end of a stray beside what stays", 60)
    assert (place / "new").read_bytes() == b"new"
