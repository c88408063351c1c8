"""A mount outlives the process that serves it; whoever reads notices nothing but time."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from servers.faultproxy import FaultProxy
from servers.faults import Stall
from views.bucket import LocalBucket, write_tree
from views.living import WAITS, kill, now, ours, program, state_files, until, worker
from views.memory import Made, Spec
from views.outcomes import status_of

from penstock.errors import PenstockError
from penstock.mountpoint.daemon.restart_policy import MOST
from penstock.mountpoint.known_mounts import MountInfo, list_mounts
from penstock.mountpoint.processes import start_time, wait_for_end
from penstock.mountpoint.unmount import unmount
from penstock.repo.settings.settings import Settings

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]


def kill_worker(info: MountInfo) -> int:
    """Kill the process that serves a mount, and wait until it is gone; return its id."""
    return kill_worker_of(now(info))


def kill_worker_of(found: MountInfo) -> int:
    pid = found.worker_pid
    assert pid is not None
    since = start_time(pid)
    os.kill(pid, signal.SIGKILL)
    assert since is None or wait_for_end(pid, since, 20)
    return pid


def read_uncached(path: Path, digest: Callable[[bytes], str] = lambda data: hashlib.md5(data).hexdigest()) -> str:
    """Read a file that the kernel shall not know; return its digest."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        with open(descriptor, "rb", closefd=False) as stream:
            return digest(stream.read())
    finally:
        os.close(descriptor)


@contextmanager
def in_thread(call: Callable[[], object]) -> Iterator[Callable[[], object]]:
    """Run a call in a thread; yields what waits for its result, 30 seconds at most."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(call)
        yield lambda: future.result(30)


def of_data(method: str, path: str) -> bool:
    return method == "GET" and "/data/" in path


@pytest.fixture
def through_proxy(behind_proxy: Callable[[float], Settings]) -> Settings:
    """Push everything to S3; return patient settings that reach it through the proxy, with an empty cache."""
    return behind_proxy(60.0)


def test_an_idle_worker_is_replaced(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    info = mounts()
    assert info.restarts == 0
    assert info.worker_pid != info.pid
    dead = kill_worker(info)
    until(lambda: now(info).restarts == 1, "it is replaced")
    last = worker(info)
    assert last != dead
    assert now(info) == replace(info, worker_pid=last, restarts=1)
    assert (Path(info.mountpoint) / "small.txt").read_text() == "hello world\n"
    status = status_of(info)
    assert (status.worker_pid, status.restarts, status.since) == (last, 1, info.since)
    assert unmount(info.mountpoint)
    assert ours(tmp_path) == []
    assert state_files() == []
    assert start_time(last) is None


@pytest.mark.s3
@pytest.mark.parametrize("name", ["big.bin", "small.txt"])
def test_a_read_under_way_ends_in_the_right_bytes(
    through_proxy: Settings, mounts: Mount, source: Path, fault_proxy: FaultProxy, name: str
) -> None:
    info = mounts("lab/data", settings=through_proxy)
    stalled = fault_proxy.fail(fault=Stall(60), match=of_data, times=100)
    with in_thread((Path(info.mountpoint) / name).read_bytes) as result:
        until(lambda: stalled.struck > 0, "the read has reached the store")
        fault_proxy.heal()
        kill_worker(info)
        assert result() == (source / name).read_bytes()
    assert now(info).restarts == 1


def test_an_open_file_and_an_open_directory_survive(mounts: Mount, pushed: LocalBucket, source: Path) -> None:
    info = mounts()
    with open(Path(info.mountpoint, "big.bin"), "rb", buffering=0) as stream:
        assert stream.read(10) == (source / "big.bin").read_bytes()[:10]
        folder = os.open(f"{info.mountpoint}/names", os.O_RDONLY)
        for _ in range(3):
            kill_worker(info)
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            stream.seek(0)
            assert stream.readall() == (source / "big.bin").read_bytes()
            os.lseek(folder, 0, os.SEEK_SET)
            assert sorted(os.listdir(folder)) == sorted(os.listdir(source / "names"))
        os.close(folder)
    assert now(info).restarts == 3


def test_a_listing_goes_on_where_it_was(demo: LocalBucket, mounts: Mount, tmp_path: Path) -> None:
    count = 20_000
    (tmp_path / "huge").mkdir()
    for number in range(count):
        os.close(os.open(tmp_path / "huge" / f"{number:06d}", os.O_CREAT | os.O_WRONLY))
    demo.push(tmp_path / "huge")
    info = mounts()
    with os.scandir(info.mountpoint) as entries:
        found = [next(entries).name for _ in range(100)]
        kill_worker(info)
        found += [next(entries).name for _ in range(5000)]
        kill_worker(info)
        found += [entry.name for entry in entries]
    assert found == [f"{number:06d}" for number in range(count)]
    assert now(info).restarts == 2


@pytest.mark.slow
def test_ten_kills_under_readers(demo: LocalBucket, mounts: Mount, tmp_path: Path) -> None:
    rng = random.Random(1)
    spec: Spec = {
        b"%d" % folder: {b"%d" % number: Made(rng.randbytes(rng.randrange(60_000))) for number in range(20)}
        for folder in range(10)
    } | {b"large": Made(rng.randbytes(6 << 20))}
    write_tree(tmp_path / "many", spec)
    files = [path.relative_to(tmp_path / "many") for path in (tmp_path / "many").rglob("*") if path.is_file()]
    digests = {path: hashlib.md5((tmp_path / "many" / path).read_bytes()).hexdigest() for path in files}
    demo.push(tmp_path / "many")
    info = mounts()
    over = threading.Event()
    read = [0] * 4

    def reader(number: int) -> None:
        choice = random.Random(number)
        while not over.is_set():
            path = choice.choice(files)
            assert read_uncached(Path(info.mountpoint, path)) == digests[path]
            read[number] += 1

    with ThreadPoolExecutor(len(read)) as pool:
        futures = [pool.submit(reader, number) for number in range(len(read))]
        try:
            for _ in range(10):
                before = sum(read)
                until(lambda before=before: sum(read) > before + 5, "readers go on")
                kill_worker(info)
            before = sum(read)
            until(lambda: sum(read) > before + 5, "readers go on")
        finally:
            over.set()
        for future in futures:
            future.result(30)
    assert now(info).restarts == 10
    assert info.log is not None
    assert "Traceback" not in Path(info.log).read_text()


@pytest.mark.slow
def test_processes_that_die_one_after_the_other_end_the_mount(
    mounts: Mount, pushed: LocalBucket, tmp_path: Path
) -> None:
    info = mounts()
    assert info.pid is not None
    with program(WAITS, Path(info.mountpoint, "small.txt")):  # though it is in use
        killed = 0
        while (found := next((each for each in list_mounts() if each.pid == info.pid), None)) is not None:
            assert killed <= MOST + 1
            if found.worker_pid is not None and start_time(found.worker_pid) is not None:
                kill_worker_of(found)
                killed += 1
            time.sleep(0.01)
        until(lambda: start_time(info.pid or 0) is None, "the supervisor ends")
    assert killed == MOST + 1
    # What is there is no empty directory: whoever reads gets errors until it is unmounted.
    with pytest.raises(OSError, match="not connected"):
        os.listdir(info.mountpoint)
    (dead,) = [each for each in list_mounts() if each.mountpoint == info.mountpoint]
    assert not dead.alive
    assert dead.why is not None
    assert "died one after the other" in dead.why
    assert dead.log == info.log
    assert info.log is not None
    assert f"{info.mountpoint} was given up" in Path(info.log).read_text()
    assert unmount(info.mountpoint)
    assert ours(tmp_path) == []
    assert state_files() == []
    again = mounts()
    assert (Path(again.mountpoint) / "small.txt").read_text() == "hello world\n"


@pytest.mark.parametrize("stopped", [False, True])
def test_a_worker_dies_with_its_supervisor(mounts: Mount, pushed: LocalBucket, tmp_path: Path, stopped: bool) -> None:
    info = mounts()
    if stopped:
        os.kill(worker(info), signal.SIGSTOP)
    kill(info)  # waits for both
    with pytest.raises(OSError, match=r"not connected|connection abort"):  # the kernel may just be at it
        os.statvfs(info.mountpoint)
    again = mounts()
    assert (Path(again.mountpoint) / "small.txt").read_text() == "hello world\n"
    assert ours(tmp_path) == [again]


def test_a_worker_that_hangs_does_not_keep_a_mount_from_ending(
    mounts: Mount, pushed: LocalBucket, tmp_path: Path
) -> None:
    info = mounts()
    pid = worker(info)
    os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    assert unmount(info.mountpoint)
    assert time.monotonic() - begun < 9  # before it would have been made to
    assert start_time(pid) is None
    assert ours(tmp_path) == []


@pytest.mark.s3
def test_nothing_keeps_a_mount_from_ending_by_force(
    through_proxy: Settings, mounts: Mount, fault_proxy: FaultProxy, tmp_path: Path
) -> None:
    info = mounts("lab/data", settings=through_proxy)
    pid = worker(info)
    stalled = fault_proxy.fail(fault=Stall(60), match=of_data, times=100)
    with in_thread((Path(info.mountpoint) / "small.txt").read_bytes) as result:
        until(lambda: stalled.struck > 0, "the read has reached the store")
        os.kill(pid, signal.SIGSTOP)
        begun = time.monotonic()
        assert unmount(info.mountpoint, force=True)
        with pytest.raises(OSError, match=r"connect|Input/output"):
            result()
        assert time.monotonic() - begun < 15
    assert start_time(pid) is None
    assert ours(tmp_path) == []


def test_unmounting_while_there_is_no_worker(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    info = mounts()
    for _ in range(6):  # by now another one comes after a pause only
        kill_worker(info)
        until(lambda: start_time(worker(info)) is not None, "it is replaced")
    kill_worker(info)
    assert unmount(info.mountpoint)
    assert ours(tmp_path) == []
    assert state_files() == []


@pytest.mark.s3
def test_no_store_is_needed_to_go_on(
    through_proxy: Settings, mounts: Mount, source: Path, fault_proxy: FaultProxy
) -> None:
    info = mounts("lab/data", settings=through_proxy)
    place = Path(info.mountpoint)
    modified = (place / "small.txt").stat()
    digest = read_uncached(place / "big.bin")
    fault_proxy.down()
    kill_worker(info)
    assert read_uncached(place / "big.bin") == digest
    assert sorted(os.listdir(place / "names")) == sorted(os.listdir(source / "names"))
    assert (place / "small.txt").stat() == modified
    fault_proxy.up()
    assert (place / "old").read_bytes() == b"old"
    assert now(info).restarts == 1


def test_the_version_stays_the_one_that_was_mounted(mounts: Mount, pushed: LocalBucket, source: Path) -> None:
    info = mounts(handle="demo/data/bin")
    version = os.getxattr(info.mountpoint, "user.penstock.top_hash")
    commit = os.getxattr(info.mountpoint, "user.penstock.commit")
    (source / "bin" / "hello").write_bytes(b"something else, and of another size")
    (source / "bin" / "added").write_bytes(b"")
    pushed.push(source)
    kill_worker(info)
    assert sorted(os.listdir(info.mountpoint)) == ["again", "hello"]
    assert (Path(info.mountpoint) / "hello").read_bytes() == b"#!/bin/sh\necho hello from a mount\n"
    assert os.getxattr(info.mountpoint, "user.penstock.top_hash") == version
    assert os.getxattr(info.mountpoint, "user.penstock.commit") == commit


def test_what_a_supervisor_costs(mounts: Mount, pushed: LocalBucket) -> None:
    info = mounts()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{info.pid}/status").read_text().splitlines())
    assert int(status["VmRSS"].split()[0]) < 32 << 10  # KiB
    assert int(status["Threads"]) == 1
    mapped = Path(f"/proc/{info.pid}/maps").read_text()
    assert "lmdb" not in mapped
    assert "pyfuse3" not in mapped


@pytest.mark.s3
def test_where_the_kernel_cannot_send_again_nothing_hangs(
    through_proxy: Settings,
    mounts: Mount,
    source: Path,
    fault_proxy: FaultProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before Linux 6.9. Both processes of the daemon are made to believe that this is one."""
    (tmp_path / "older").mkdir()
    (tmp_path / "older" / "sitecustomize.py").write_text(
        "from penstock.mountpoint.daemon import device\ndevice.can_resend = lambda greeting: False\n"
    )
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "older"), *([before] if before else [])]))
    info = mounts("lab/data", settings=through_proxy)
    place = Path(info.mountpoint)
    stalled = fault_proxy.fail(fault=Stall(60), match=of_data, times=100)

    def read() -> bytes | int:
        try:
            return (place / "small.txt").read_bytes()
        except OSError as error:
            assert error.errno is not None
            return error.errno

    with in_thread(read) as result:
        until(lambda: stalled.struck > 0, "the read has reached the store")
        fault_proxy.heal()
        kill_worker(info)
        # The kernel's read-ahead fails; it may ask once more for the page that it needs.
        assert result() in (errno.ECONNABORTED, errno.EIO, b"hello world\n")
    assert (place / "big.bin").read_bytes() == (source / "big.bin").read_bytes()
    assert now(info).restarts == 1


def test_a_mount_that_fails_leaves_no_process(mounts: Mount, pushed: LocalBucket, tmp_path: Path) -> None:
    with pytest.raises(PenstockError):
        mounts("demo/data:nothing-of-this-name")
    assert ours(tmp_path) == []
    assert state_files() == []
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    for child in children:
        until(lambda child=child: b"penstock.vfs" not in command(child), "the daemon's processes end")


def command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
