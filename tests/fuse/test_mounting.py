"""How a mount begins: what it says, what it refuses, who may look, what several mounts share."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from views.bucket import LocalBucket
from views.living import ours, program, state_files

from penstock.errors import ConflictError, IntegrityError, NotFoundError, UsageError
from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount import mount
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.unmount import unmount

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]


def test_a_mount_says_what_it_is(pushed: LocalBucket, mounts: Mount, tmp_path: Path) -> None:
    info = mounts()
    assert ours(tmp_path) == [info]
    assert info.alive
    assert info.handle == "demo/data"
    assert info.bucket_url == f"file://{pushed.directory}"
    assert info.top_hash == os.getxattr(info.mountpoint, "user.penstock.top_hash").decode()
    assert info.log is not None
    assert "mounted demo/data" in Path(info.log).read_text()
    shown = subprocess.run(
        ["findmnt", "-n", "-o", "SOURCE,FSTYPE,OPTIONS", info.mountpoint], capture_output=True, text=True, check=True
    )
    fields = shown.stdout.split()
    assert fields[:2] == ["demo/data:main", "fuse.penstock"]
    assert {"ro", "nosuid", "nodev", "default_permissions"} <= set(fields[2].split(","))


def test_a_mountpoint_with_an_odd_name(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    info = mounts(at=os.fsdecode(b"a b\\c,d\xff\n"))
    assert (Path(info.mountpoint) / "small.txt").read_text() == "hello world\n"
    assert [found.mountpoint for found in ours(tmp_path)] == [info.mountpoint]
    assert unmount(info.mountpoint)


def test_one_place_is_mounted_on_once(mounts: Mount, pushed: LocalBucket) -> None:
    info = mounts()
    with pytest.raises(ConflictError, match="mounted already") as told:
        mounts()
    assert "demo/data" in told.value.why
    assert (Path(info.mountpoint) / "small.txt").exists()


def test_of_two_that_begin_at_once_one_is_refused(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    outcomes: list[MountInfo | ConflictError] = []

    def begin() -> None:
        try:
            outcomes.append(mounts())
        except ConflictError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=begin) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConflictError", "ConflictError", "MountInfo"]
    assert len(ours(tmp_path)) == 1


def test_two_mounts_share_one_cache(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    first, second = mounts(at="one"), mounts(at="two")
    assert len(ours(tmp_path)) == 2
    expected = (Path(first.mountpoint) / "big.bin").read_bytes()
    before = int(os.getxattr(second.mountpoint, "user.penstock.bytes_fetched"))
    assert os.getxattr(Path(second.mountpoint) / "big.bin", "user.penstock.cached") == b"4/4"
    assert (Path(second.mountpoint) / "big.bin").read_bytes() == expected
    assert int(os.getxattr(second.mountpoint, "user.penstock.bytes_fetched")) == before
    assert unmount(first.mountpoint)
    assert (Path(second.mountpoint) / "small.txt").read_bytes() == b"hello world\n"


def test_a_mount_stays_at_its_version(mounts: Mount, pushed: LocalBucket, source: Path) -> None:
    first = mounts(at="one")
    (source / "small.txt").write_text("changed\n")
    (source / "new.txt").write_text("new\n")
    pushed.push(source)
    second = mounts(at="two")
    assert (Path(first.mountpoint) / "small.txt").read_text() == "hello world\n"
    assert not (Path(first.mountpoint) / "new.txt").exists()
    assert (Path(second.mountpoint) / "small.txt").read_text() == "changed\n"
    assert first.top_hash != second.top_hash
    third = mounts(f"demo/data:{first.top_hash}", at="three")
    assert third.commit is None
    assert (Path(third.mountpoint) / "small.txt").read_text() == "hello world\n"


def test_owners_can_be_chosen(mounts: Mount, pushed: LocalBucket) -> None:
    info = mounts(options=MountOptions(uid=1234, gid=4321))
    facts = (Path(info.mountpoint) / "small.txt").stat()
    assert (facts.st_uid, facts.st_gid) == (1234, 4321)


def as_nobody(*command: object) -> subprocess.CompletedProcess[str]:
    drop = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    return subprocess.run([*drop, *map(str, command)], capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def public() -> Iterator[Path]:
    """Return a directory that everybody can reach; pytest's own is private."""
    with tempfile.TemporaryDirectory(prefix="penstock-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def test_other_users_stay_out(public: Path, mounts: Mount, pushed: LocalBucket) -> None:
    info = mounts(at=str(public / "mnt"))
    refused = as_nobody("cat", Path(info.mountpoint, "small.txt"))
    assert refused.returncode != 0
    assert "Permission denied" in refused.stderr
    assert unmount(info.mountpoint)


def test_other_users_are_let_in_when_asked(public: Path, mounts: Mount, pushed: LocalBucket) -> None:
    info = mounts(at=str(public / "mnt"), options=MountOptions(allow_other=True))
    read = as_nobody("cat", Path(info.mountpoint, "small.txt"))
    assert (read.returncode, read.stdout) == (0, "hello world\n"), read.stderr
    assert unmount(info.mountpoint)


def test_a_handle_that_is_not_there_names_the_nearest(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    for handle in ("demo/dada", "demo/data:mian", "demo/data:main/bim"):
        with pytest.raises(NotFoundError) as told:
            mounts(handle)
        assert any(near in told.value.fix for near in ("data", "main", "bin")), handle
    with pytest.raises(UsageError):
        mounts("demo//:")
    with pytest.raises(UsageError, match="not a directory"):
        mounts("demo/data:main/small.txt")
    assert ours(tmp_path) == []
    assert state_files() == []


def test_a_root_that_cannot_be_read_is_told(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    for pack in (pushed.directory / ".penstock" / "nodes").rglob("*"):
        if pack.is_file():
            pack.unlink()
    # What a push has just made is in the cache: look from a fresh one.
    place = tmp_path / "mnt"
    place.mkdir()
    fresh = LocalBucket(tmp_path / "other")
    settings = type(fresh.settings)(
        pushed.settings.config_path, tmp_path / "fresh-cache", 1 << 30, pushed.settings.remotes
    )
    with pytest.raises(IntegrityError, match=r"\.penstock/nodes/.*Restore"):
        mount("demo/data", str(place), settings)
    assert ours(tmp_path) == []


def test_a_file_that_cannot_be_read_fails_and_the_mount_lives_on(
    mounts: Mount, pushed: LocalBucket, source: Path
) -> None:
    info = mounts()
    start = (source / "big.bin").read_bytes()[:4096]
    for path in pushed.data_objects():
        body = path.read_bytes()
        if (at := body.find(start)) >= 0:
            path.chmod(0o644)
            path.write_bytes(body[:at] + bytes(4096) + body[at + 4096 :])
    with pytest.raises(OSError, match="Input/output") as told:
        (Path(info.mountpoint) / "big.bin").read_bytes()
    assert told.value.errno == errno.EIO
    assert (Path(info.mountpoint) / "small.txt").read_bytes() == b"hello world\n"
    assert info.log is not None
    assert "big.bin" in Path(info.log).read_text()


def test_in_the_foreground(pushed: LocalBucket, tmp_path: Path) -> None:
    place = tmp_path / "mnt"
    place.mkdir()
    code = """
import sys
import tempfile
import threading
from pathlib import Path
from penstock.repo.settings.remote import Remote
from penstock.repo.settings.settings import Settings
from penstock.mountpoint.mount import mount_foreground
remotes = {"demo": Remote(name="demo", url=sys.argv[2])}
settings = Settings(Path("/nowhere.toml"), Path(sys.argv[3]), 1 << 30, remotes)
mount_foreground("demo/data", sys.argv[1], settings, ready=lambda info: print("ready", flush=True))
print("over", flush=True)
"""
    url, cache = f"file://{pushed.directory}", tmp_path / "blocks"
    for end in (lambda process: process.send_signal(signal.SIGINT), lambda _: unmount(str(place))):
        with program(code, place, url, cache) as process:
            assert (place / "small.txt").read_text() == "hello world\n"
            end(process)
            assert process.stdout is not None
            assert process.stdout.readline() == "over\n"
            assert process.wait(20) == 0
        assert ours(tmp_path) == []
