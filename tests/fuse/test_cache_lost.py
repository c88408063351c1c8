"""Whatever is wrong with the block cache, a mount goes on without it, says so, and gives the right bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from views.bucket import LocalBucket
from views.living import now, until, worker
from views.outcomes import read_within, status_of

from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_options import MountOptions
from penstock.mountpoint.processes import start_time, wait_for_end
from penstock.mountpoint.unmount import unmount

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]

NAMES = ("big.bin", "small.txt", "old", "bin/hello")


def kill_worker(info: MountInfo) -> None:
    pid = worker(info)
    since = start_time(pid)
    os.kill(pid, signal.SIGKILL)
    assert since is None or wait_for_end(pid, since, 20)


def drop(path: Path) -> None:
    """Let the kernel forget what it has of a file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def check(info: MountInfo, source: Path) -> None:
    for name in NAMES:
        path = Path(info.mountpoint, name)
        drop(path)
        assert read_within(30, path) == (source / name).read_bytes()


@pytest.mark.regress
@pytest.mark.parametrize("writable", [False, True], ids=["read-only", "writable"])
def test_a_cache_that_others_may_write_to_is_done_without(
    pushed: LocalBucket, mounts: Mount, source: Path, tmp_path: Path, writable: bool
) -> None:
    options = MountOptions(writable=writable, overlay_directory=str(tmp_path / "overlay") if writable else None)
    info = mounts(options=options)
    Path(pushed.settings.cache_directory).chmod(0o777)
    kill_worker(info)
    check(info, source)
    if writable:
        Path(info.mountpoint, "new").write_text("written")
        assert read_within(30, Path(info.mountpoint, "new")) == b"written"
    status = status_of(info)
    assert "can be written by others: its mode is 0777" in status.cache.mode
    assert "every read goes to the store" in status.cache.note
    assert now(info).restarts == 1


@pytest.mark.regress
def test_a_cache_folder_in_whose_place_a_file_is_is_done_without(
    pushed: LocalBucket, mounts: Mount, source: Path
) -> None:
    info = mounts()
    cache = Path(pushed.settings.cache_directory)
    cache.rename(cache.with_name("elsewhere"))
    cache.write_text("a file")
    check(info, source)
    kill_worker(info)
    check(info, source)
    assert "is not a directory" in status_of(info).cache.mode


def test_a_mount_whose_process_crashes_twice_over_the_cache_leaves_it_alone(
    pushed: LocalBucket, mounts: Mount, source: Path
) -> None:
    info = mounts()
    clock = Path(pushed.settings.cache_directory, "clock")
    for restarts in (1, 2):
        check(info, source)
        assert status_of(info).cache.mode == "ok"
        os.truncate(clock, 0)  # whoever looks at the page is sent SIGBUS
        drop(Path(info.mountpoint, "big.bin"))
        assert read_within(30, Path(info.mountpoint, "big.bin")) == (source / "big.bin").read_bytes()
        until(lambda restarts=restarts: now(info).restarts == restarts, "it is replaced")  # type: ignore[misc]
    check(info, source)
    status = status_of(info)
    assert "SIGBUS, and so did the one before it" in status.cache.mode
    assert now(info).restarts == 2
    assert unmount(info.mountpoint)


@contextmanager
def no_fetchers(pid: int) -> Iterator[None]:
    """Kill every child of a process as soon as it is there."""
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.002):
            with suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    for child in (task / "children").read_text().split():
                        os.kill(int(child), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.regress
def test_a_mount_whose_fetchers_die_fetches_by_itself(pushed: LocalBucket, mounts: Mount, source: Path) -> None:
    info = mounts()
    with no_fetchers(worker(info)):
        check(info, source)
    assert now(info).restarts == 0


@pytest.mark.regress(reason="a mount said nothing of its cache: there was no field for it")
@pytest.mark.parametrize("place", ["read-only", "too small", "in the way"])
def test_mount_says_what_is_wrong_with_the_cache_and_what_that_costs(
    pushed: LocalBucket, mounts: Mount, source: Path, tmp_path: Path, place: str
) -> None:
    settings = pushed.settings
    if place == "read-only":
        folder = tmp_path / "read-only"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,mode=700", "penstock-test", folder], check=True)
        settings = replace(settings, cache_directory=folder / "cache")
    elif place == "too small":
        settings = replace(settings, cache_size=16 << 20)
    else:
        (tmp_path / "file").touch()
        settings = replace(settings, cache_directory=tmp_path / "file")
    try:
        info = mounts(settings=settings)
        check(info, source)
        assert info.cache is not None
        assert info.cache.startswith("nothing is kept in the block cache, every read goes to the store: ")
        assert status_of(info).cache.note == info.cache
        assert unmount(info.mountpoint)
    finally:
        if place == "read-only":
            subprocess.run(["umount", "-l", folder], check=True)


def test_mount_says_nothing_of_a_cache_that_works(pushed: LocalBucket, mounts: Mount) -> None:
    info = mounts()
    assert info.cache == ""
    assert status_of(info).cache.note == ""
