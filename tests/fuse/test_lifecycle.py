"""Mounting, unmounting and what lies between: refusals, crashes, busy mounts, several mounts, other users."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from views.bucket import LocalBucket

from penstock.errors import ConflictError, NotFoundError, PenstockError, UsageError
from penstock.vfs.mountinfo import top_mount
from penstock.vfs.mounting import mount
from penstock.vfs.mounts import MountInfo, list_mounts
from penstock.vfs.options import MountOptions
from penstock.vfs.processes import start_time, wait_for_end
from penstock.vfs.unmounting import unmount

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]


def until(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Wait for a condition, with a deadline."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} within {seconds} s"
        time.sleep(0.02)


def kill(info: MountInfo, number: int = signal.SIGKILL) -> None:
    """Send a signal to a daemon and wait until it is gone."""
    assert info.pid is not None
    started = start_time(info.pid)
    assert started is not None
    os.kill(info.pid, number)
    assert wait_for_end(info.pid, started, 20)


def ours(directory: Path) -> list[MountInfo]:
    return [info for info in list_mounts() if info.mountpoint.startswith(f"{directory}/")]


def state_files() -> list[str]:
    directory = Path(os.environ["XDG_RUNTIME_DIR"], "penstock", "mounts")
    return sorted(os.listdir(directory)) if directory.exists() else []


@contextmanager
def program(code: str, *arguments: object, cwd: object = "/") -> Iterator[subprocess.Popen[str]]:
    """Run a program that prints a line when it is ready and then waits for its standard input."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    process = subprocess.Popen(command, cwd=str(cwd), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


WAITS = "import sys; stream = open(sys.argv[1]) if sys.argv[1:] else None; print('ready', flush=True); input()"


@pytest.fixture
def pushed(bucket: LocalBucket, source: Path) -> LocalBucket:
    bucket.push(source)
    return bucket


def test_a_mount_says_what_it_is(pushed: LocalBucket, mounts: Mount, tmp_path: Path) -> None:
    info = mounts()
    assert ours(tmp_path) == [info]
    assert info.alive
    assert info.handle == "demo/data"
    assert info.bucket_url == f"file://{pushed.directory}"
    assert info.top_hash == os.getxattr(info.mountpoint, "user.penstock.version").decode()
    assert info.log is not None
    assert "mounted demo/data" in Path(info.log).read_text()
    shown = subprocess.run(
        ["findmnt", "-n", "-o", "SOURCE,FSTYPE,OPTIONS", info.mountpoint], capture_output=True, text=True, check=True
    )
    fields = shown.stdout.split()
    assert fields[:2] == ["demo/data:main", "fuse.penstock"]
    assert {"ro", "nosuid", "nodev", "default_permissions"} <= set(fields[2].split(","))


def test_unmounting_leaves_nothing_behind(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    info = mounts()
    assert unmount(info.mountpoint)
    assert info.pid is not None
    assert start_time(info.pid) is None
    assert ours(tmp_path) == []
    assert state_files() == []
    assert os.listdir(info.mountpoint) == []
    mounts()  # and the place can be mounted on again


def test_a_mountpoint_with_an_odd_name(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    info = mounts(at=os.fsdecode(b"a b\\c,d\xff\n"))
    assert (Path(info.mountpoint) / "small.txt").read_text() == "hello world\n"
    assert [found.mountpoint for found in ours(tmp_path)] == [info.mountpoint]
    assert unmount(info.mountpoint)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_unmounts(mounts: Mount, pushed: LocalBucket, tmp_path: Path, number: int) -> None:
    info = mounts()
    kill(info, number)
    assert ours(tmp_path) == []
    assert state_files() == []


def test_a_signal_ends_a_busy_mount_after_a_while(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    info = mounts()
    with program(WAITS, Path(info.mountpoint, "small.txt")):
        begun = time.monotonic()
        assert info.pid is not None
        os.kill(info.pid, signal.SIGTERM)
        # It is served on for some time, for whoever is about to finish.
        assert (Path(info.mountpoint) / "old").read_text() == "old"
        until(lambda: start_time(info.pid or 0) is None, "the daemon ends")
        assert time.monotonic() - begun > 3
        assert ours(tmp_path) == []


def test_two_signals_end_a_busy_mount_at_once(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    info = mounts()
    with program(WAITS, Path(info.mountpoint, "small.txt")):
        assert info.pid is not None
        assert info.log is not None
        begun = time.monotonic()
        os.kill(info.pid, signal.SIGTERM)
        until(lambda: "SIGTERM" in Path(info.log or "").read_text(), "the first signal is seen")
        os.kill(info.pid, signal.SIGTERM)
        until(lambda: start_time(info.pid or 0) is None, "the daemon ends")
        assert time.monotonic() - begun < 4
        assert ours(tmp_path) == []


def test_a_killed_daemon_is_unmounted_like_any_other(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    info = mounts()
    kill(info)
    with pytest.raises(OSError, match="not connected") as told:
        os.statvfs(info.mountpoint)
    assert told.value.errno == errno.ENOTCONN
    (found,) = ours(tmp_path)
    assert not found.alive
    assert unmount(info.mountpoint)
    assert ours(tmp_path) == []
    assert state_files() == []


def test_mounting_again_mends_what_a_killed_daemon_left(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    first = mounts()
    kill(first)
    second = mounts()
    assert (Path(second.mountpoint) / "small.txt").read_text() == "hello world\n"
    assert ours(tmp_path) == [second]
    assert len(state_files()) == 1


def test_a_dead_mount_that_somebody_stands_in(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    info = mounts()
    with program(WAITS, cwd=info.mountpoint):
        kill(info)
        assert unmount(info.mountpoint)
        assert ours(tmp_path) == []


def test_a_busy_mount_names_who_uses_it(mounts: Mount, pushed: LocalBucket) -> None:
    info = mounts()
    mapped = (
        "import mmap, sys; stream = open(sys.argv[1], 'rb'); m = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ);"
        "stream.close(); print('ready', flush=True); input()"
    )
    inside = Path(info.mountpoint, "bin")
    for code, arguments, cwd, use in (
        (WAITS, [Path(info.mountpoint, "small.txt")], "/", "open file"),
        (WAITS, [], inside, "working directory"),
        (mapped, [Path(info.mountpoint, "small.txt")], "/", "mapped file"),
    ):
        with program(code, *arguments, cwd=cwd) as process:
            with pytest.raises(ConflictError, match="busy") as told:
                unmount(info.mountpoint)
            assert f"process {process.pid}" in told.value.why
            if use != "mapped file":  # a mapping keeps its file's descriptor in Python
                assert use in told.value.why
            assert "--lazy" in told.value.fix
    assert unmount(info.mountpoint)


def test_lazily_unmounted_files_can_be_read_to_the_end(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    info = mounts()
    code = (
        "import sys; stream = open(sys.argv[1], 'rb'); print('ready', flush=True); input();"
        "print(len(stream.read()), flush=True)"
    )
    with program(code, Path(info.mountpoint, "big.bin")) as process:
        assert not unmount(info.mountpoint, lazy=True)
        assert ours(tmp_path) == []
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"{(3 << 20) + 8}\n"
    until(lambda: start_time(info.pid or 0) is None, "the daemon ends with its last user")
    assert state_files() == []


def test_force_ends_a_busy_mount(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    info = mounts()
    with program(WAITS, Path(info.mountpoint, "small.txt")):
        assert unmount(info.mountpoint, force=True)
        assert start_time(info.pid or 0) is None
        assert ours(tmp_path) == []


def test_force_ends_a_daemon_that_does_not_answer(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    """A stopped daemon stands for one that hangs: a reader waits in the kernel, and unmounting works all the same."""
    info = mounts()
    code = (
        "import sys; print('ready', flush=True)\n"
        "try:\n    open(sys.argv[1], 'rb').read(); print('read')\n"
        "except OSError as error:\n    print(error.errno, flush=True)\ninput()"
    )
    assert info.pid is not None
    os.kill(info.pid, signal.SIGSTOP)
    with program(code, Path(info.mountpoint, "big.bin")) as process:
        assert unmount(info.mountpoint, force=True, timeout=1)
        assert start_time(info.pid) is None
        assert ours(tmp_path) == []
        assert process.stdout is not None
        assert int(process.stdout.readline()) in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO)


def test_one_place_is_mounted_on_once(mounts: Mount, pushed: LocalBucket) -> None:
    info = mounts()
    with pytest.raises(ConflictError, match="mounted already") as told:
        mounts()
    assert "demo/data" in told.value.why
    assert (Path(info.mountpoint) / "small.txt").exists()


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
def open_path(tmp_path: Path) -> Path:
    """Let everybody pass through the directories above the mountpoint."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    return tmp_path


def test_other_users_stay_out(mounts: Mount, pushed: LocalBucket, open_path: Path) -> None:
    info = mounts()
    refused = as_nobody("cat", Path(info.mountpoint, "small.txt"))
    assert refused.returncode != 0
    assert "Permission denied" in refused.stderr


def test_other_users_are_let_in_when_asked(mounts: Mount, pushed: LocalBucket, open_path: Path) -> None:
    info = mounts(options=MountOptions(allow_other=True))
    read = as_nobody("cat", Path(info.mountpoint, "small.txt"))
    assert (read.returncode, read.stdout) == (0, "hello world\n")


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
    with pytest.raises(PenstockError, match="node pack"):
        mount("demo/data", str(place), settings)
    assert ours(tmp_path) == []


def test_a_file_that_cannot_be_read_fails_and_the_mount_lives_on(
    mounts: Mount, pushed: LocalBucket, source: Path
) -> None:
    info = mounts()
    for path in pushed.data_objects():
        if path.stat().st_size > 1 << 20:
            path.unlink()
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
from pathlib import Path
from penstock.repo.remotes import Remote
from penstock.repo.settings import Settings
from penstock.vfs.mounting import mount_foreground
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


def test_unmounting_needs_neither_pyfuse3_nor_trio() -> None:
    code = (
        "import sys, penstock.vfs.mounting, penstock.vfs.mounts, penstock.vfs.unmounting\n"
        "print(*{'pyfuse3', 'trio', 'boto3', 'click'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_a_place_below_a_mount_is_no_mount(mounts: Mount, pushed: LocalBucket) -> None:
    info = mounts()
    with pytest.raises(NotFoundError) as told:
        unmount(f"{info.mountpoint}/bin")
    assert info.mountpoint in told.value.fix
    assert top_mount(info.mountpoint) is not None


def test_by_way_of_a_link(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    info = mounts()
    (tmp_path / "link").symlink_to(info.mountpoint)
    assert unmount(str(tmp_path / "link"))
    assert ours(tmp_path) == []
