"""500 threads of one program on a mount: each gets its bytes, and all of them end."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from views.bucket import LocalBucket

from penstock.mountpoint.known_mounts import MountInfo
from penstock.mountpoint.mount_options import MountOptions

pytestmark = pytest.mark.fuse

THREADS = 500
Mount = Callable[..., MountInfo]


@pytest.fixture
def many(demo: LocalBucket, tmp_path: Path) -> dict[str, bytes]:
    """Push 100 small files and one of many blocks; return their bytes."""
    rng = random.Random(500)
    content = {f"f{number}": rng.randbytes(2000 + number) for number in range(100)} | {"big": rng.randbytes(20 << 20)}
    source = tmp_path / "many"
    source.mkdir()
    for name, body in content.items():
        (source / name).write_bytes(body)
    demo.push(source)
    return content


def test_500_threads_read_cold(mounts: Mount, many: dict[str, bytes]) -> None:
    place = Path(mounts().mountpoint)

    def read(thread: int) -> None:
        rng = random.Random(thread)
        for _ in range(4):
            name = rng.choice(["big", *many])
            start = rng.randrange(len(many[name]))
            descriptor = os.open(place / name, os.O_RDONLY)
            try:
                assert os.pread(descriptor, 70_000, start) == many[name][start : start + 70_000]
            finally:
                os.close(descriptor)

    with ThreadPoolExecutor(THREADS) as pool:
        assert len(list(pool.map(read, range(THREADS), timeout=90))) == THREADS


def test_500_threads_write(mounts: Mount, many: dict[str, bytes], tmp_path: Path) -> None:
    options = MountOptions(writable=True, overlay_directory=str(tmp_path / "overlay"))
    place = Path(mounts(options=options).mountpoint)

    def write(thread: int) -> None:
        body = random.Random(thread).randbytes(3000)
        path = place / f"new{thread}"
        path.write_bytes(body)
        assert path.read_bytes() == body
        path.rename(place / f"moved{thread}")
        if thread % 2:
            (place / f"moved{thread}").unlink()

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(write, range(THREADS), timeout=90))
    assert set(os.listdir(place)) == {*many, *(f"moved{thread}" for thread in range(0, THREADS, 2))}
