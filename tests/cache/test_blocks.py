"""What a single process may rely on."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from blake3 import blake3

from penstock.cache import LARGEST_BLOCK, SMALLEST_BOUND, BlockCache
from penstock.errors import AccessError, IntegrityError

Block = Callable[..., tuple[bytes, bytes]]


def test_what_was_put_is_read_back_without_a_copy(tmp_path: Path, block: Block) -> None:
    cache = BlockCache(tmp_path / "cache", SMALLEST_BOUND)
    key, data = block(1, 100_000)
    assert cache.get(key) is None
    assert key not in cache
    assert cache.put(key, data)
    first, second = cache.get(key), cache.get(key)
    assert first is not None
    assert second is not None
    assert first == data
    assert first.readonly
    assert first.obj is second.obj, "two views of one mapping"
    assert key in cache
    info = cache.info()
    assert (info.blocks, info.segments, info.quarantined, info.mode) == (1, 1, 0, "ok")
    cache.close()


def test_blocks_survive_closing(tmp_path: Path, block: Block) -> None:
    blocks = [block(seed, size) for seed, size in enumerate([1, 7, 8, 4096, 99_999, LARGEST_BLOCK])]
    cache = BlockCache(tmp_path, SMALLEST_BOUND)
    assert cache.put_many(blocks) == [True] * 6
    cache.close()
    assert cache.get(blocks[0][0]) is None
    assert not cache.put(*blocks[0])
    again = BlockCache(tmp_path, SMALLEST_BOUND)
    for key, data in blocks:
        assert again.get(key) == data
    assert again.missing([key for key, _ in blocks]) == []
    again.close()


def test_any_buffer_can_be_put(tmp_path: Path, block: Block) -> None:
    cache = BlockCache(tmp_path, SMALLEST_BOUND)
    key, data = block(1)
    assert cache.put(key, bytearray(data))
    key, data = block(2)
    assert cache.put(key, memoryview(data))
    assert cache.get(key) == data
    cache.close()


def test_a_block_that_is_not_its_hash_is_refused(tmp_path: Path, block: Block) -> None:
    cache = BlockCache(tmp_path, SMALLEST_BOUND)
    key, data = block(1)
    with pytest.raises(IntegrityError, match=key.hex()):
        cache.put(key, data[:-1] + b"!")
    with pytest.raises(IntegrityError):
        cache.put(b"short", data)
    assert cache.info().blocks == 0
    cache.close()


def test_a_block_that_no_segment_holds_is_not_stored(tmp_path: Path, block: Block) -> None:
    cache = BlockCache(tmp_path, SMALLEST_BOUND)
    assert not cache.put(*block(1, LARGEST_BLOCK + 1))
    assert not cache.put(blake3(b"").digest(), b"")
    assert cache.info().mode == "ok"
    cache.close()


def test_putting_twice_stores_once(tmp_path: Path, block: Block, usage: Callable[[Path], int]) -> None:
    cache = BlockCache(tmp_path, SMALLEST_BOUND)
    one = block(1, 1 << 20)
    assert cache.put_many([one, one]) == [True, True]
    before = usage(tmp_path)
    assert cache.put(*one)
    assert usage(tmp_path) == before
    assert before < 2 << 20
    cache.close()


def test_missing_keeps_order(tmp_path: Path, block: Block) -> None:
    cache = BlockCache(tmp_path, SMALLEST_BOUND)
    blocks = [block(seed) for seed in range(10)]
    cache.put_many(blocks[::2])
    keys = [key for key, _ in blocks]
    assert cache.missing(keys) == keys[1::2]
    assert cache.missing([]) == []
    assert "text" not in cache
    cache.close()


def test_the_bound_holds_while_far_more_is_put(tmp_path: Path, block: Block, usage: Callable[[Path], int]) -> None:
    cache = BlockCache(tmp_path, SMALLEST_BOUND)
    for seed in range(400):
        key, data = block(seed, 300_000 + seed)
        assert cache.put(key, data)
        assert cache.get(key) == data
        if seed % 20 == 0:
            assert usage(tmp_path) <= SMALLEST_BOUND
    info = cache.info()
    assert info.bytes <= SMALLEST_BOUND
    assert 60 < info.blocks < 110, "most of the bound is used"
    assert info.blocks == cache.verify().blocks
    cache.close()


def test_tiny_blocks_fill_the_index_first(tmp_path: Path, block: Block, usage: Callable[[Path], int]) -> None:
    cache = BlockCache(tmp_path, SMALLEST_BOUND)
    for start in range(0, 60_000, 1000):
        blocks = [(blake3(data).digest(), data) for i in range(1000) for data in [b"%d" % (start + i)]]
        assert all(cache.put_many(blocks))
        assert usage(tmp_path) <= SMALLEST_BOUND
    assert cache.get(blocks[-1][0]) == blocks[-1][1]
    assert cache.info().blocks > 5000
    cache.close()


def test_a_view_outlives_eviction_and_clear(tmp_path: Path, block: Block) -> None:
    cache = BlockCache(tmp_path, SMALLEST_BOUND)
    key, data = block(0, 500_000)
    cache.put(key, data)
    view = cache.get(key)
    assert view is not None
    seed = 0
    while key in cache:
        seed += 1
        cache.put(*block(seed, 1 << 20))
        assert seed < 500
    assert cache.get(key) is None
    assert view == data
    other = cache.get(block(seed, 1 << 20)[0])
    assert other is not None
    assert cache.clear() > 10 << 20
    assert other == block(seed, 1 << 20)[1]
    assert view == data
    cache.close()
    assert view == data


def test_clear_frees_and_the_cache_goes_on(tmp_path: Path, block: Block, usage: Callable[[Path], int]) -> None:
    cache = BlockCache(tmp_path, SMALLEST_BOUND)
    blocks = [block(seed, 400_000) for seed in range(20)]
    cache.put_many(blocks)
    before = usage(tmp_path)
    assert cache.clear() == before - usage(tmp_path) > 7 << 20
    assert [cache.get(key) for key, _ in blocks] == [None] * 20
    assert cache.info().blocks == 0
    assert cache.put(*blocks[0])
    assert cache.get(blocks[0][0]) == blocks[0][1]
    cache.close()


def test_two_caches_in_one_process_share_a_directory(tmp_path: Path, block: Block) -> None:
    one, two = BlockCache(tmp_path, SMALLEST_BOUND), BlockCache(tmp_path, SMALLEST_BOUND)
    key, data = block(1)
    one.put(key, data)
    assert two.get(key) == data
    one.close()
    assert two.put(*block(2))
    two.clear()
    assert two.get(key) is None
    two.close()


def test_each_enforces_its_own_bound(tmp_path: Path, block: Block, usage: Callable[[Path], int]) -> None:
    large = BlockCache(tmp_path, 4 * SMALLEST_BOUND)
    for seed in range(100):
        large.put(*block(seed, 1 << 20))
    large.close()
    assert usage(tmp_path) > 90 << 20
    small = BlockCache(tmp_path, SMALLEST_BOUND)
    seed = 100
    while usage(tmp_path) > SMALLEST_BOUND:
        assert small.put(*block(seed, 1 << 20))
        seed += 1
        assert seed < 120
    small.close()


def test_unfinished_segments_are_used_up(
    tmp_path: Path, block: Block, segment_files: Callable[[Path], list[Path]]
) -> None:
    for seed in range(12):
        cache = BlockCache(tmp_path, SMALLEST_BOUND)
        assert cache.put(*block(seed, 50_000))
        cache.close()
    assert len(segment_files(tmp_path)) == 1
    cache = BlockCache(tmp_path, SMALLEST_BOUND)
    assert all(cache.get(block(seed, 50_000)[0]) == block(seed, 50_000)[1] for seed in range(12))
    cache.close()


def test_the_directory_is_private(tmp_path: Path) -> None:
    BlockCache(tmp_path / "a" / "cache", SMALLEST_BOUND).close()
    assert (tmp_path / "a" / "cache").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "a" / "cache").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0 or path.is_dir() or "mdb" in path.name
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with closing(BlockCache(shared, SMALLEST_BOUND)) as cache:
        assert re.search(r"written by others.*chmod 700", cache.mode)
        with pytest.raises(AccessError, match=r"written by others.*chmod 700"):
            cache.clear()
    shared.chmod(0o700)
    os.chown(shared, 12345, -1)
    with closing(BlockCache(shared, SMALLEST_BOUND)) as cache:
        assert re.search(r"another user.*12345", cache.mode)
        with pytest.raises(AccessError, match=r"another user.*12345"):
            cache.clear()
    assert os.listdir(shared) == []
    (tmp_path / "file").touch()
    with closing(BlockCache(tmp_path / "file", SMALLEST_BOUND)) as cache:
        assert "not a directory" in cache.mode


def test_a_bound_too_small_keeps_nothing_and_says_so(tmp_path: Path, block: Block) -> None:
    with closing(BlockCache(tmp_path, SMALLEST_BOUND)) as cache:
        cache.put(*block(1))
    with closing(BlockCache(tmp_path, 1 << 20)) as cache:
        assert "bound of 1,048,576 bytes is below the 32 MiB" in cache.mode
        assert not cache.put(*block(2))
        assert cache.get(block(1)[0]) is None
        assert cache.info().max_bytes == 1 << 20
        assert cache.info().bytes > 0
        assert cache.clear() > 0
        assert list((tmp_path / "segments").iterdir()) == []
        assert cache.mode != "ok"


def test_threads_put_get_and_clear_at_once(tmp_path: Path, block: Block) -> None:
    cache = BlockCache(tmp_path, SMALLEST_BOUND)
    wrong: list[str] = []
    blocks = [block(seed, 20_000 + 997 * seed) for seed in range(120)]

    def hammer(turn: int) -> None:
        for step in range(400):
            key, data = blocks[(step * (turn * 2 + 1) + turn) % len(blocks)]
            found = cache.get(key)
            if found is None:
                cache.put(key, data)
            elif found != data:
                wrong.append(key.hex())
            if turn == 0 and step % 150 == 149:
                cache.clear()

    threads = [threading.Thread(target=hammer, args=(turn,)) for turn in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    info = cache.info()
    assert (info.quarantined, info.mode) == (0, "ok")
    assert cache.verify().damaged == 0
    cache.close()


def test_abandoned_segments_without_room_are_sealed_and_evicted(tmp_path: Path, block: Block) -> None:
    writers = [BlockCache(tmp_path, SMALLEST_BOUND) for _ in range(6)]
    for seed, writer in enumerate(writers):
        assert writer.put(*block(seed, 4_100_000))
    late = BlockCache(tmp_path, SMALLEST_BOUND)
    assert not late.put(*block(6, 4_100_000)), "six live writers leave nothing to evict"
    assert late.get(block(5, 4_100_000)[0]) == block(5, 4_100_000)[1]
    for writer in writers:
        writer.close()
    for seed in range(6, 16):
        assert late.put(*block(seed, 4_100_000))
        assert late.get(block(seed, 4_100_000)[0]) == block(seed, 4_100_000)[1]
    late.close()
