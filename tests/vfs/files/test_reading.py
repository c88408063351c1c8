"""Reading bytes without a kernel: ranges, single-flight, failures, readahead, a cache that does not keep."""

from __future__ import annotations

import os
import random

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from views.memory import Made, MemorySource, with_file_system

from penstock.errors import StoreUnreachableError
from penstock.manifest.entry import BLOCK_SIZE
from penstock.vfs.files.filesystem import FileHandle, ReadOnlyFileSystem

MIB = 1 << 20


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


async def opened(fs: ReadOnlyFileSystem, name: bytes) -> FileHandle:
    found = await fs.lookup(1, name)
    assert found is not None
    return await fs.open(found.inode, os.O_RDONLY)


BIG = noise(5 * MIB + 77)
PAGED = noise(MIB, seed=2) * 34 + b"end"  # more blocks than fit in a leaf, most of them equal


@settings(deadline=None, max_examples=80, derandomize=True, database=None)
@given(st.lists(st.tuples(st.integers(0, len(BIG) + 10), st.integers(0, 3 * MIB)), min_size=1, max_size=6))
def test_any_range_is_what_was_written(ranges: list[tuple[int, int]]) -> None:
    async def body(fs: ReadOnlyFileSystem) -> None:
        handle = await opened(fs, b"big")
        for offset, size in ranges:
            assert await fs.read(handle, offset, size) == BIG[offset : offset + size]

    with_file_system(MemorySource({b"big": Made(BIG)}), body)


@pytest.mark.parametrize("keeps", [True, False])
def test_a_file_with_pages_of_hashes(keeps: bool) -> None:
    source = MemorySource({b"paged": Made(PAGED)}, keeps=keeps)

    async def body(fs: ReadOnlyFileSystem) -> None:
        handle = await opened(fs, b"paged")
        for offset in range(0, len(PAGED), 7 * MIB // 3):
            assert await fs.read(handle, offset, 2 * MIB) == PAGED[offset : offset + 2 * MIB]
        assert await fs.read(handle, len(PAGED) - 2, 100) == b"nd"

    with_file_system(source, body)


def test_one_block_is_not_copied() -> None:
    source = MemorySource({b"big": Made(BIG)})

    async def body(fs: ReadOnlyFileSystem) -> None:
        handle = await opened(fs, b"big")
        part = await fs.read(handle, MIB + 5, 100)
        assert isinstance(part, memoryview)
        assert part.obj in list(source.store.values())

    with_file_system(source, body)


def test_beyond_the_end_and_nothing() -> None:
    async def body(fs: ReadOnlyFileSystem) -> None:
        handle = await opened(fs, b"small")
        assert await fs.read(handle, 2, 100) == b"c"
        for offset, size in ((3, 1), (4, 1), (1 << 62, 10), (0, 0)):
            assert await fs.read(handle, offset, size) == b""
        empty = await opened(fs, b"empty")
        assert await fs.read(empty, 0, 4096) == b""

    source = MemorySource({b"small": Made(b"abc"), b"empty": Made()})
    with_file_system(source, body)
    assert [len(region.pieces) for region in source.regions] == [1]


def test_readers_of_a_missing_block_cause_one_fetch() -> None:
    source = MemorySource({b"f": Made(b"content")})
    source.gate.clear()

    async def body(fs: ReadOnlyFileSystem) -> None:
        source.gate.set()
        handle = await opened(fs, b"f")
        source.gate.clear()
        answers: list[bytes] = []

        async def read() -> None:
            answers.append(bytes(await fs.read(handle, 0, 100)))

        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            source.gate.set()
        assert answers == [b"content"] * 30

    with_file_system(source, body)
    assert [len(region.pieces) for region in source.regions] == [1]


def test_equal_files_share_a_fetch() -> None:
    """What is in flight is a block, not a file."""
    source = MemorySource({b"a": Made(b"same"), b"b": Made(b"same")})

    async def body(fs: ReadOnlyFileSystem) -> None:
        handles = [await opened(fs, b"a"), await opened(fs, b"b")]
        source.gate.clear()
        async with trio.open_nursery() as nursery:
            for handle in handles:
                nursery.start_soon(fs.read, handle, 0, 10)
            await trio.testing.wait_all_tasks_blocked()
            source.gate.set()

    with_file_system(source, body)
    assert len(source.regions) == 1


def test_a_failure_reaches_all_who_wait_and_nobody_after() -> None:
    source = MemorySource({b"f": Made(b"content")})

    async def body(fs: ReadOnlyFileSystem) -> None:
        handle = await opened(fs, b"f")
        source.gate.clear()
        source.faults.append(StoreUnreachableError("down"))
        failures: list[str] = []

        async def read() -> None:
            with pytest.raises(StoreUnreachableError) as told:
                await fs.read(handle, 0, 100)
            failures.append(told.value.what)

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            source.gate.set()
        assert failures == ["down"] * 10
        assert await fs.read(handle, 0, 100) == b"content"

    with_file_system(source, body)
    assert len(source.regions) == 2


def test_a_cancelled_reader_takes_nothing_from_the_others() -> None:
    source = MemorySource({b"f": Made(b"content")})

    async def body(fs: ReadOnlyFileSystem) -> None:
        handle = await opened(fs, b"f")
        source.gate.clear()
        first = trio.CancelScope()

        async def impatient() -> None:
            with first:
                await fs.read(handle, 0, 100)

        answers: list[bytes] = []

        async def patient() -> None:
            answers.append(bytes(await fs.read(handle, 0, 100)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(impatient)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(patient)
            await trio.testing.wait_all_tasks_blocked()
            first.cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert not answers
            source.gate.set()
        assert first.cancelled_caught
        assert answers == [b"content"]

    with_file_system(source, body)
    assert len(source.regions) == 1


def test_blocks_that_adjoin_come_in_one_fetch() -> None:
    source = MemorySource({b"big": Made(BIG)})

    async def body(fs: ReadOnlyFileSystem) -> None:
        handle = await opened(fs, b"big")
        await fs.read(handle, MIB // 2, 3 * MIB)

    with_file_system(source, body)
    assert source.fetches == [(b"big", 0, 4)]


def test_only_what_is_missing_is_fetched() -> None:
    source = MemorySource({b"big": Made(BIG)})

    async def body(fs: ReadOnlyFileSystem) -> None:
        handle = await opened(fs, b"big")
        await fs.read(handle, 2 * MIB, 10)
        source.fetches.clear()
        assert await fs.read(await opened(fs, b"big"), 0, 5 * MIB) == BIG[: 5 * MIB]

    with_file_system(source, body)
    assert sorted(source.fetches) == [(b"big", 0, 2), (b"big", 3, 2)]


def test_a_file_of_equal_blocks() -> None:
    """All blocks have one hash: one fetch serves them all."""
    source = MemorySource({b"zeros": Made(bytes(6 * MIB))})

    async def body(fs: ReadOnlyFileSystem) -> None:
        handle = await opened(fs, b"zeros")
        assert await fs.read(handle, 10, 4 * MIB) == bytes(4 * MIB)

    with_file_system(source, body)
    assert source.fetches == [(b"zeros", 0, 1)]


def test_pieces_of_a_block_cost_one_fetch_also_when_the_cache_is_full() -> None:
    source = MemorySource({b"big": Made(BIG)}, keeps=False)

    async def body(fs: ReadOnlyFileSystem) -> None:
        handle = await opened(fs, b"big")
        for offset in range(3 * MIB, 4 * MIB, 128 << 10):
            assert await fs.read(handle, offset, 128 << 10) == BIG[offset : offset + (128 << 10)]

    with_file_system(source, body)
    assert [fetch for fetch in source.fetches if fetch[1] == 3] == [(b"big", 3, 1)]


def test_a_sequential_reader_is_fetched_for_ahead_of_time() -> None:
    data = noise(24 * MIB)
    source = MemorySource({b"big": Made(data)})

    async def body(fs: ReadOnlyFileSystem) -> None:
        handle = await opened(fs, b"big")
        for offset in range(0, len(data), 128 << 10):
            assert await fs.read(handle, offset, 128 << 10) == data[offset : offset + (128 << 10)]
            await trio.testing.wait_all_tasks_blocked()

    with_file_system(source, body)
    blocks = [index for _, first, count in source.fetches for index in range(first, first + count)]
    assert sorted(blocks) == list(range(24))  # every block once
    assert len(source.fetches) <= 12  # and mostly not one by one


def test_isolated_reads_fetch_their_own_blocks_only() -> None:
    data = noise(24 * MIB)
    source = MemorySource({b"big": Made(data)})

    async def body(fs: ReadOnlyFileSystem) -> None:
        handle = await opened(fs, b"big")
        for block in (20, 3, 11, 7, 15, 0):
            await fs.read(handle, block * BLOCK_SIZE + 1000, 4096)
        await trio.testing.wait_all_tasks_blocked()

    with_file_system(source, body)
    assert sorted(source.fetches) == [(b"big", block, 1) for block in (0, 3, 7, 11, 15, 20)]


def test_large_file_rules_that_fails_fails_nobody() -> None:
    data = noise(8 * MIB)
    source = MemorySource({b"big": Made(data)})

    async def body(fs: ReadOnlyFileSystem) -> None:
        handle = await opened(fs, b"big")
        await fs.read(handle, 0, MIB)
        source.faults.append(StoreUnreachableError("down"))
        await fs.read(handle, MIB - 1, 1)  # goes on: the next block is fetched ahead, and that fails
        with trio.fail_after(10):
            while source.faults:
                await trio.sleep(0.01)  # a thread takes it
        await trio.testing.wait_all_tasks_blocked()
        assert await fs.read(handle, MIB, MIB) == data[MIB : 2 * MIB]

    with_file_system(source, body)


def test_hits_and_misses_are_counted() -> None:
    source = MemorySource({b"f": Made(b"content"), b"g": Made(b"other")})
    source.cache.update(source.store)
    del source.cache[next(digest for digest, block in source.store.items() if block == b"content")]

    async def body(fs: ReadOnlyFileSystem) -> None:
        for name in (b"f", b"g"):
            handle = await opened(fs, name)
            await fs.read(handle, 0, 10)
            await fs.read(handle, 0, 10)

    with_file_system(source, body)
    assert (source.counts["misses"], source.counts["hits"]) == (1, 3)
