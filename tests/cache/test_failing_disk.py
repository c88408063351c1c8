"""Disks that are full, read-only or limited: the cache stores nothing and says why, and reads go on."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.cache import SMALLEST_BOUND, BlockCache, LocationIndex

Block = Callable[..., tuple[bytes, bytes]]


def fill(cache: BlockCache, block: Block, size: int = 500_000) -> int:
    """Put blocks until one is refused; return how many were stored."""
    count = 0
    while cache.put(*block(count, size)):
        count += 1
        assert count < 100
    return count


def test_a_full_disk_degrades_to_uncached(small_disk: Path, block: Block) -> None:
    cache = BlockCache(small_disk / "cache", SMALLEST_BOUND)
    count = fill(cache, block)
    assert count > 10
    assert "No space left" in cache.info().mode
    assert not cache.put(*block(500, 500_000))
    for seed in range(count):
        assert cache.get(block(seed, 500_000)[0]) == block(seed, 500_000)[1]
    assert cache.get(block(count, 500_000)[0]) is None
    assert cache.verify().damaged == 0
    cache.close()
    again = BlockCache(small_disk / "cache", SMALLEST_BOUND)
    assert again.info().blocks == count
    again.close()


def test_a_disk_with_room_again_is_used_again(
    small_disk: Path, block: Block, until: Callable[[Callable[[], bool]], None]
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(8 << 20))
    cache = BlockCache(small_disk / "cache", 4 * SMALLEST_BOUND)
    count = fill(cache, block, 300_000)
    assert cache.info().mode.startswith("degraded: No space left")
    started = time.monotonic()
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    until(lambda: cache.put(*block(700, 300_000)))
    assert time.monotonic() - started < 30, "not only after a minute"
    assert cache.info().mode == "ok"
    assert cache.get(block(700, 300_000)[0]) == block(700, 300_000)[1]
    assert cache.get(block(count - 1, 300_000)[0]) is not None
    cache.close()


def test_a_disk_too_full_to_open_a_cache(small_disk: Path, block: Block) -> None:
    free = os.statvfs(small_disk).f_bavail * 4096
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(free - 8192))
    cache = BlockCache(small_disk / "cache", SMALLEST_BOUND, retry_seconds=0)
    assert cache.get(block(1)[0]) is None
    assert not cache.put(*block(1))
    assert cache.missing([block(1)[0]]) == [block(1)[0]]
    assert cache.info().mode.startswith("degraded: ")
    assert cache.clear() == 0
    ballast.unlink()
    assert cache.put(*block(1))
    assert cache.get(block(1)[0]) == block(1)[1]
    assert cache.info().mode == "ok"
    cache.close()


def test_a_read_only_disk(small_disk: Path, block: Block) -> None:
    directory = small_disk / "cache"
    cache = BlockCache(directory, SMALLEST_BOUND)
    cache.put(*block(1))
    cache.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    cache = BlockCache(directory, SMALLEST_BOUND, retry_seconds=0)
    assert "Read-only" in cache.info().mode
    assert cache.get(block(1)[0]) is None
    assert not cache.put(*block(2))
    locations = LocationIndex(directory, SMALLEST_BOUND, retry_seconds=0)
    locations.put_many(b"n", [(b"c", b"v")])
    assert locations.get(b"n", b"c") is None
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert cache.get(block(1)[0]) == block(1)[1]
    assert cache.put(*block(2))
    assert cache.info().mode == "ok"
    locations.put_many(b"n", [(b"c", b"v")])
    assert locations.get(b"n", b"c") == b"v"
    locations.close()
    cache.close()


def test_a_fault_is_not_asked_again_at_once(small_disk: Path, block: Block) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    cache = BlockCache(small_disk / "cache", SMALLEST_BOUND, retry_seconds=3600)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert not cache.put(*block(1)), "the disk is left alone for the retry time"
    assert "Read-only" in cache.info().mode
    cache.close()


def test_a_limit_on_file_sizes(tmp_path: Path, block: Block) -> None:
    cache = BlockCache(tmp_path, SMALLEST_BOUND, retry_seconds=0)
    cache.put(*block(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        refused = [cache.put(*block(seed, 900_000)) for seed in range(2, 8)]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not all(refused)
    assert cache.get(block(1)[0]) == block(1)[1]
    assert cache.put(*block(9, 900_000))
    assert cache.info().mode == "ok"
    assert cache.verify().damaged == 0
    cache.close()


def test_a_disk_without_locks(tmp_path: Path, block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    before = len(os.listdir("/proc/self/fd"))
    cache = BlockCache(tmp_path, SMALLEST_BOUND, retry_seconds=0)
    for _ in range(5):
        assert not cache.put(*block(1))
    assert "files cannot be locked on this disk: No locks available" in cache.mode
    assert len(os.listdir("/proc/self/fd")) == before, "nothing is left open"
    monkeypatch.undo()
    assert cache.put(*block(1))
    assert cache.mode == "ok"
    cache.close()
