"""A disk that is full and cache files that are damaged, under a mount that is read: reads are right all the same."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from views.bucket import LocalBucket, write_tree
from views.memory import Made
from views.outcomes import read_within, resident

from penstock.mountpoint.control_client import ask
from penstock.mountpoint.control_messages import StatusRequest
from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_status import MountStatus
from penstock.mountpoint.unmount import unmount

pytestmark = pytest.mark.fuse
Mount = Callable[..., MountInfo]

MIB = 1 << 20
NAMES = [f"{number:02d}" for number in range(12)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a directory of files of four blocks each, and a few small ones."""
    rng = random.Random(5)
    write_tree(
        tmp_path / "source",
        {name.encode(): Made(rng.randbytes(4 * MIB)) for name in NAMES}
        | {b"small": {b"%d" % number: Made(rng.randbytes(5000)) for number in range(20)}},
    )
    return tmp_path / "source"


@contextmanager
def small_disk(directory: Path, size: int) -> Iterator[None]:
    """Mount a file system of so many bytes."""
    directory.mkdir()
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    options = f"size={size},mode=700,uid={os.geteuid()}"
    subprocess.run([*sudo, "mount", "-t", "tmpfs", "-o", options, "penstock-test", directory], check=True)
    try:
        yield
    finally:
        subprocess.run([*sudo, "umount", "--lazy", directory], check=True)


def test_a_disk_that_is_full(pushed: LocalBucket, mounts: Mount, source: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, 24 * MIB):
        # The cache may take a GiB, but the disk has not even room for the version.
        info = mounts(settings=replace(pushed.settings, cache_directory=disk / "cache"))
        before = resident(info)
        most = before
        for _ in range(2):
            for name in NAMES:
                assert read_within(60, Path(info.mountpoint, name)) == (source / name).read_bytes()
                most = max(most, resident(info))
        for path in (source / "small").iterdir():
            assert read_within(60, Path(info.mountpoint, "small", path.name)) == path.read_bytes()
        status = ask(info.mountpoint, StatusRequest(), MountStatus)
        assert status.cache.mode != "ok"
        volume = os.statvfs(disk)
        assert volume.f_bavail * volume.f_frsize < 4 * MIB  # it was full
        assert most < 400 * MIB
        assert info.log is not None
        assert "Traceback" not in Path(info.log).read_text()
        assert unmount(info.mountpoint)


def test_many_readers_on_a_disk_that_is_full(pushed: LocalBucket, mounts: Mount, source: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, 16 * MIB):
        info = mounts(settings=replace(pushed.settings, cache_directory=disk / "cache"))
        with ThreadPoolExecutor(len(NAMES)) as pool:
            reads = {name: pool.submit(read_within, 60, Path(info.mountpoint, name)) for name in NAMES}
            most = 0
            while not all(future.done() for future in reads.values()):
                most = max(most, resident(info))
        for name, future in reads.items():
            assert future.result() == (source / name).read_bytes()
        assert most < 400 * MIB
        assert unmount(info.mountpoint)


def segments(cache: Path) -> list[Path]:
    return sorted((cache / "segments").iterdir())


def drop_pages(mountpoint: str) -> None:
    """Let the kernel forget what it has of the files in a mount."""
    for path in Path(mountpoint).rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


@pytest.mark.parametrize("damage", ["flipped", "cut short to nothing", "removed", "index removed"])
def test_cache_files_that_are_damaged_under_a_mount(
    pushed: LocalBucket, mounts: Mount, source: Path, damage: str
) -> None:
    cache = pushed.settings.cache_directory
    first = mounts()
    for name in NAMES:
        assert read_within(60, Path(first.mountpoint, name)) == (source / name).read_bytes()
    # A mount that has verified none of it yet.
    info = mounts(at="second")
    for path in segments(cache):
        if damage == "flipped":
            with open(path, "r+b") as stream:
                for offset in range(MIB // 2, path.stat().st_size, MIB):
                    stream.seek(offset)
                    byte = stream.read(1)
                    stream.seek(offset)
                    stream.write(bytes([byte[0] ^ 0xFF]))
        elif damage == "cut short to nothing":
            os.truncate(path, 0)
        elif damage == "removed":
            path.unlink()
    if damage == "index removed":
        for path in (cache / "index-2").iterdir():
            path.unlink()
    for name in NAMES:
        assert read_within(60, Path(info.mountpoint, name)) == (source / name).read_bytes()
    drop_pages(info.mountpoint)
    for name in NAMES:
        assert read_within(60, Path(info.mountpoint, name)) == (source / name).read_bytes()
    assert info.log is not None
    assert "Traceback" not in Path(info.log).read_text()
