"""Announced orders: what is fetched ahead and how far, and that nothing that clients say can cost much memory."""

from __future__ import annotations

import random
from array import array
from collections.abc import Awaitable, Callable

import msgspec
import pytest
import trio
from views.memory import Link, Made, MemorySource, with_file_system

from penstock.errors import ConflictError, NotFoundError, StoreUnreachableError, UsageError
from penstock.manifest.tree import ROOT_INODE
from penstock.mountpoint.control_messages import AnnounceRequest
from penstock.vfs.ahead import announced_order
from penstock.vfs.ahead.announced_order import Announced, Order
from penstock.vfs.files.filesystem import ReadOnlyFileSystem
from penstock.vfs.serve.announcements import Announcements, find_files
from penstock.vfs.source.workers import Workers
from penstock.wire import NoMessageError, checked

MIB = 1 << 20


def announce(orders: Announced, inodes: list[int], client: str = "one", at: int = 0, now: float = 0) -> Order:
    return orders.add(client, "token", at, array("Q", inodes), len(inodes), now)


def lead(orders: Announced, size: int, now: float = 0) -> list[int]:
    """Fetch for whoever is due, files of `size` bytes, until nobody is; return their inodes."""
    fetched: list[int] = []
    while (due := orders.due(now)) is not None:
        order, room = due
        taken = order.upcoming()[: max(1, room // size)]
        fetched += taken
        order.took([size] * len(taken))
    return fetched


def test_the_lead_is_bounded_and_follows_the_reader() -> None:
    orders = Announced(100)
    announce(orders, list(range(10, 1000)))
    assert lead(orders, 10) == list(range(10, 20))
    for inode in range(10, 15):
        assert orders.due(0) is None
        assert orders.opened(inode, 0)
    assert lead(orders, 10) == list(range(20, 25))


def test_readers_may_overtake_each_other() -> None:
    orders = Announced(100)
    announce(orders, list(range(10, 40)))
    fetched = lead(orders, 10)
    for at in range(0, 30, 5):
        for inode in reversed(range(10 + at, 15 + at)):
            assert orders.opened(inode, 0)
            fetched += lead(orders, 10)
    assert fetched == list(range(10, 40))


def test_a_reader_that_is_faster_is_not_held_up_nor_fetched_for_twice() -> None:
    orders = Announced(100)
    order = announce(orders, list(range(10, 400)))
    for inode in range(10, 60):
        assert orders.opened(inode, 0)
    assert order.upcoming()[0] == 60


def test_what_the_reader_skips_is_given_up() -> None:
    orders = Announced(1_000_000)
    announce(orders, list(range(10_000)))
    fetched = lead(orders, 100)
    assert len(fetched) >= announced_order.LEAD_FILES - announced_order.LARGEST_BATCH
    for inode in range(1000, len(fetched)):
        assert orders.opened(inode, 0)
    assert lead(orders, 100)


def test_other_files_are_none_of_its() -> None:
    orders = Announced(100)
    announce(orders, list(range(10, 100)))
    lead(orders, 10)
    assert not orders.opened(5000, 0)


def test_clients_share_the_window() -> None:
    orders = Announced(100)
    announce(orders, list(range(10, 100)), "one")
    announce(orders, list(range(200, 300)), "two")
    assert sorted(lead(orders, 10)) == [*range(10, 15), *range(200, 205)]
    # One of them has died: after a while the other has it all.
    for inode in range(10, 15):
        assert orders.opened(inode, 1000)
    assert lead(orders, 10, now=1000) == list(range(15, 25))


def test_a_new_announcement_replaces_the_old_one() -> None:
    orders = Announced(100)
    first = announce(orders, list(range(10, 100)))
    lead(orders, 10)
    second = announce(orders, list(range(500, 600)))
    assert first not in orders
    assert second in orders
    assert lead(orders, 10) == list(range(500, 510))


def test_parts_of_an_announcement_belong_together() -> None:
    orders = Announced(100)
    order = announce(orders, [10, 11])
    announce(orders, [12], at=2)
    assert order.inodes.tolist() == [10, 11, 12]
    with pytest.raises(ConflictError):
        announce(orders, [13], at=2)
    with pytest.raises(ConflictError):
        orders.add("one", "another", 3, array("Q", [13]), 1, 0)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announced_order, "MOST_FILES", 1000)
    orders = Announced(100)
    kept = [announce(orders, list(range(300)), f"client {number}") for number in range(5)]
    assert [order in orders for order in kept] == [False, False, True, True, True]
    with pytest.raises(UsageError, match="too many"):
        announce(orders, list(range(1001)), "greedy")
    many = [announce(orders, [number], f"small {number}") for number in range(100)]
    assert sum(order in orders for order in many) == announced_order.MOST_ORDERS


def test_files_that_come_again_are_no_trouble() -> None:
    orders = Announced(1000)
    inodes = random.Random(5).choices(range(10, 20), k=500)
    announce(orders, inodes)
    fetched = lead(orders, 10)
    for inode in inodes:
        orders.opened(inode, 0)
        fetched += lead(orders, 10)
    assert fetched == inodes


# --- carried out ------------------------------------------------------------------------------------------------------


def packed(count: int, size: int = 1000) -> MemorySource:
    chance = random.Random(7)
    return MemorySource({b"f%05d" % at: Made(chance.randbytes(size)) for at in range(count)}, pack=True)


def run(source: MemorySource, body: Callable[[ReadOnlyFileSystem], Awaitable[None]]) -> None:
    with_file_system(source, body)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not condition():
            await trio.sleep(0.005)


async def read(fs: ReadOnlyFileSystem, name: bytes) -> bytes:
    found = await fs.lookup(ROOT_INODE, name)
    assert found is not None
    handle = await fs.open(found.inode, 0)
    data = bytes(await fs.read(handle, 0, 1 << 20))
    fs.release(handle)
    return data


async def say(fs: ReadOnlyFileSystem, source: MemorySource, names: list[bytes]) -> None:
    announcements = Announcements(source, fs.follower, Workers())
    paths = [name.decode() for name in names]
    answer = await announcements.take(AnnounceRequest("me", "t", 0, paths, True), 0)
    assert answer.taken == len(names)


def test_all_that_was_announced_is_fetched_once_and_nothing_else() -> None:
    source = packed(4000)
    names = [b"f%05d" % at for at in random.Random(1).sample(range(4000), 800)]

    async def body(fs: ReadOnlyFileSystem) -> None:
        await say(fs, source, names)
        await until(lambda: len(source.cache) >= 800)
        before = len(source.regions)
        for name in names:
            assert await read(fs, name) == source.content(name)
        assert len(source.regions) == before

    run(source, body)
    fetched = [piece.digest for region in source.regions for piece in region.pieces]
    assert sorted(fetched) == sorted(source.digest(name) for name in names)
    assert sum(region.length for region in source.regions) <= 1.1 * 800 * 1000


def test_the_whole_of_a_version_takes_few_requests() -> None:
    source = packed(4000)
    names = [b"f%05d" % at for at in random.Random(1).sample(range(4000), 4000)]

    async def body(fs: ReadOnlyFileSystem) -> None:
        await say(fs, source, names)
        await until(lambda: len(source.cache) == 4000)

    run(source, body)
    assert len(source.regions) < 400


def test_a_failure_is_nobodys_and_the_lead_goes_on() -> None:
    source = packed(1000)
    source.faults += [StoreUnreachableError("down")] * 3
    names = [b"f%05d" % at for at in random.Random(1).sample(range(1000), 300)]

    async def body(fs: ReadOnlyFileSystem) -> None:
        await say(fs, source, names)
        await until(lambda: not source.faults and len(source.cache) > 100)
        for name in names:
            assert await read(fs, name) == source.content(name)

    run(source, body)


def test_without_room_in_the_cache_nothing_is_fetched_ahead() -> None:
    source = packed(1000)
    source.holds = False

    async def body(fs: ReadOnlyFileSystem) -> None:
        await say(fs, source, [b"f%05d" % at for at in range(1000)])
        assert await read(fs, b"f00500") == source.content(b"f00500")

    run(source, body)
    assert len(source.regions) == 1


def test_announced_paths() -> None:
    source = MemorySource(
        {
            b"a": {b"one": Made(b"1"), b"link": Link(b"../b/two"), b"out": Link(b"/etc/passwd")},
            b"b": {b"two": Made(b"22"), b"loop": Link(b"loop"), b"\xff": Made(b"333")},
        }
    )
    inodes, size, taken = find_files(source, ["a/one", "a/link", "b/\udcff", "b/two"], 10)
    assert inodes[1] == inodes[3]
    assert len(set(inodes)) == 3
    assert (size, taken) == (1 + 2 + 3 + 2, 4)
    for absent in ("a/three", "c/one", "a/out", "b/loop", "", "a/", "a/one/x"):
        with pytest.raises(NotFoundError, match="not in the version") as caught:
            find_files(source, ["a/one", absent], 10)
        assert repr(absent) in caught.value.what
    with pytest.raises(UsageError, match="no file"):
        find_files(source, ["a"], 10)
    assert find_files(source, ["a/one"] * 1000, 0).taken == 1


def test_what_is_no_announcement_is_refused() -> None:
    source = packed(10)
    good = AnnounceRequest("me", "t", 0, ["f00001"], True)

    async def body(fs: ReadOnlyFileSystem) -> None:
        announcements = Announcements(source, fs.follower, Workers())
        for key, bad in (("client", 1), ("client", "x" * 1000), ("at", -1), ("paths", [1]), ("last", None)):
            with pytest.raises(NoMessageError):
                checked({**msgspec.to_builtins(good), key: bad}, AnnounceRequest)
        with pytest.raises(UsageError):
            await announcements.take(msgspec.structs.replace(good, paths=["\ud800"]), 0)
        with pytest.raises(NotFoundError):
            await announcements.take(msgspec.structs.replace(good, paths=["nowhere"]), 0)

    run(source, body)
