"""What comes along with what is read: neighbours, what lies ahead, everything; and that it never harms a reader."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import trio
from views.memory import Made, MemorySource, with_file_system

from penstock.errors import StoreUnreachableError
from penstock.manifest.tree import ROOT_INODE
from penstock.vfs.files.filesystem import ReadOnlyFileSystem

SIZE = 1000


def packed(count: int, size: int = SIZE) -> MemorySource:
    """Make a version of small files that lie in one pack, in order."""
    chance = random.Random(7)
    return MemorySource({b"f%05d" % at: Made(chance.randbytes(size)) for at in range(count)}, pack=True)


async def read(fs: ReadOnlyFileSystem, name: bytes) -> bytes:
    found = await fs.lookup(ROOT_INODE, name)
    assert found is not None
    handle = await fs.open(found.inode, 0)
    data = bytes(await fs.read(handle, 0, 1 << 20))
    fs.release(handle)
    return data


def run(source: MemorySource, body: Callable[[ReadOnlyFileSystem], Awaitable[None]]) -> None:
    with_file_system(source, body)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not condition():
            await trio.sleep(0.005)


def test_a_miss_brings_what_lies_behind_it() -> None:
    source = packed(100)

    async def body(fs: ReadOnlyFileSystem) -> None:
        assert await read(fs, b"f00010") == source.content(b"f00010")
        (region,) = source.regions
        assert [piece.digest for piece in region.pieces] == [source.digest(b"f%05d" % at) for at in range(10, 18)]
        assert await read(fs, b"f00013") == source.content(b"f00013")
        assert len(source.regions) == 1

    run(source, body)


def test_what_is_there_is_not_fetched_again() -> None:
    source = packed(100)

    async def body(fs: ReadOnlyFileSystem) -> None:
        await read(fs, b"f00012")
        await read(fs, b"f00010")
        fetched = [piece.digest for region in source.regions for piece in region.pieces]
        assert len(fetched) == len(set(fetched))

    run(source, body)


def test_a_sample_fetches_a_bounded_multiple() -> None:
    source = packed(10_000)

    async def body(fs: ReadOnlyFileSystem) -> None:
        for at in random.Random(3).sample(range(10_000), 60):
            await read(fs, b"f%05d" % at)

    run(source, body)
    assert sum(region.length for region in source.regions) <= 8 * 60 * SIZE


def test_a_directory_in_order_is_fetched_ahead() -> None:
    source = packed(2000)

    async def body(fs: ReadOnlyFileSystem) -> None:
        for at in range(400):
            assert await read(fs, b"f%05d" % at) == source.content(b"f%05d" % at)

    run(source, body)
    fetched = [piece.digest for region in source.regions for piece in region.pieces]
    assert len(fetched) == len(set(fetched))
    assert len(source.regions) < 40


def test_an_epoch_fetches_everything_once() -> None:
    source = packed(3000)

    async def body(fs: ReadOnlyFileSystem) -> None:
        order = random.Random(4).sample(range(3000), 3000)
        for at in order[:200]:
            await read(fs, b"f%05d" % at)
        await until(lambda: len(source.cache) == 3000)
        before = len(source.regions)
        for at in order[200:]:
            assert await read(fs, b"f%05d" % at) == source.content(b"f%05d" % at)
        assert len(source.regions) == before

    run(source, body)
    fetched = [piece.digest for region in source.regions for piece in region.pieces]
    assert len(fetched) == len(set(fetched))


def test_not_where_the_cache_cannot_hold_it() -> None:
    source = packed(3000)
    source.holds = False

    async def body(fs: ReadOnlyFileSystem) -> None:
        for at in random.Random(4).sample(range(3000), 100):
            await read(fs, b"f%05d" % at)

    run(source, body)
    assert sum(region.length for region in source.regions) <= 8 * 100 * SIZE


def test_fetching_ahead_that_fails_fails_nobody() -> None:
    source = packed(2000)

    async def body(fs: ReadOnlyFileSystem) -> None:
        for at in range(4):
            await read(fs, b"f%05d" % at)
        await until(lambda: len(source.cache) > 4)
        source.faults += [StoreUnreachableError("down")] * 2
        for at in range(4, 1000):
            for _ in range(3):
                try:
                    data = await read(fs, b"f%05d" % at)
                    break
                except StoreUnreachableError:
                    pass  # this reader had joined a fetch that failed, or made it
            assert data == source.content(b"f%05d" % at)

    run(source, body)


def test_the_last_file_has_nothing_ahead() -> None:
    source = packed(10)

    async def body(fs: ReadOnlyFileSystem) -> None:
        for at in range(10):
            assert await read(fs, b"f%05d" % at) == source.content(b"f%05d" % at)

    run(source, body)
