from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from penstock.cache import SMALLEST_BOUND, BlockCache, LocationIndex


def content(number: int) -> bytes:
    return blake3(b"%d" % number).digest()


def test_values_are_kept_by_namespace(tmp_path: Path) -> None:
    index = LocationIndex(tmp_path, SMALLEST_BOUND)
    index.put_many(b"s3://a", [(content(1), b"one"), (content(2), b"")])
    index.put_many(b"s3://b", [(content(1), b"other")])
    assert index.get(b"s3://a", content(1)) == b"one"
    assert index.get_many(b"s3://a", [content(3), content(2)]) == [None, b""]
    index.put_many(b"s3://a", [(content(1), b"newer")])
    assert index.get(b"s3://a", content(1)) == b"newer"
    index.clear(b"s3://a")
    assert index.get(b"s3://a", content(1)) is None
    assert index.get(b"s3://b", content(1)) == b"other"
    index.close()


@pytest.mark.parametrize("boot", [None, "the next boot"])
def test_values_survive_closing(tmp_path: Path, boot: str | None) -> None:
    index = LocationIndex(tmp_path, SMALLEST_BOUND)
    index.put_many(b"n", ((content(number), b"%d" % number) for number in range(1000)))
    index.close()
    again = LocationIndex(tmp_path, SMALLEST_BOUND, boot=boot)
    assert again.get_many(b"n", [content(number) for number in range(1000)]) == [b"%d" % n for n in range(1000)]
    again.clear(b"n")
    assert again.get_many(b"n", [content(number) for number in range(1000)]) == [None] * 1000
    again.close()


def test_a_full_index_forgets_some_and_stays_within_its_share(tmp_path: Path, usage: Callable[[Path], int]) -> None:
    index = LocationIndex(tmp_path, SMALLEST_BOUND)
    for start in range(0, 40_000, 4000):
        index.put_many(b"n", ((content(start + i), b"x" * 40) for i in range(4000)))
        assert usage(tmp_path / "locations") <= 2 << 20
    found = index.get_many(b"n", [content(number) for number in range(40_000)])
    assert 5000 < sum(value is not None for value in found) < 30_000
    assert index.get(b"n", content(39_999)) is not None
    index.close()


@pytest.mark.parametrize("harm", ["deleted", "garbage", "truncated", "tail"])
def test_a_damaged_index_knows_nothing_and_starts_over(tmp_path: Path, harm: str) -> None:
    index = LocationIndex(tmp_path, SMALLEST_BOUND)
    index.put_many(b"n", ((content(number), b"v") for number in range(2000)))
    index.close()
    data = tmp_path / "locations" / "index-2" / "data.mdb"
    whole = data.read_bytes()
    match harm:
        case "deleted":
            shutil.rmtree(data.parent)
        case "garbage":
            data.write_bytes(os.urandom(len(whole)))
        case "truncated":
            data.write_bytes(whole[:20_000])
        case "tail":
            data.write_bytes(whole[:8192] + bytes(len(whole) - 8192))
    again = LocationIndex(tmp_path, SMALLEST_BOUND)
    assert again.get(b"n", content(1)) is None
    again.put_many(b"n", [(content(1), b"w")])
    assert again.get(b"n", content(1)) == b"w"
    again.close()


def test_a_child_opens_its_own(tmp_path: Path) -> None:
    index = LocationIndex(tmp_path, SMALLEST_BOUND)
    index.put_many(b"n", [(content(1), b"parent")])
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            index.put_many(b"n", [(content(2), b"child")])
            status = 0 if index.get(b"n", content(1)) == b"parent" else 2
            index.close()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert index.get(b"n", content(2)) == b"child"
    index.put_many(b"n", [(content(3), b"later")])
    assert index.get(b"n", content(3)) == b"later"
    index.close()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_children_forked_while_threads_write(tmp_path: Path) -> None:
    index = LocationIndex(tmp_path, SMALLEST_BOUND)
    stop = threading.Event()

    def hammer(start: int) -> None:
        while not stop.is_set():
            index.put_many(b"n", [(content(start + i), b"v") for i in range(50)])
            assert index.get(b"n", content(start)) == b"v"

    threads = [threading.Thread(target=hammer, args=(1000 * turn,)) for turn in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    mine = content(-os.getpid())
                    index.put_many(b"n", [(mine, b"child")])
                    status = 0 if index.get(b"n", mine) == b"child" else 2
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            assert index.get(b"n", content(-pid)) == b"child"
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    index.close()


def test_it_lives_beside_the_blocks_within_one_bound(
    tmp_path: Path, block: Callable[..., tuple[bytes, bytes]], usage: Callable[[Path], int]
) -> None:
    cache = BlockCache(tmp_path, SMALLEST_BOUND)
    index = LocationIndex(tmp_path, SMALLEST_BOUND)
    for seed in range(60):
        cache.put(*block(seed, 1 << 20))
        index.put_many(b"n", ((content(1000 * seed + i), b"x" * 40) for i in range(400)))
    assert usage(tmp_path) <= SMALLEST_BOUND
    cache.clear()
    assert index.get(b"n", content(59_399)) == b"x" * 40
    index.close()
    cache.close()
