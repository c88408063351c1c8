"""The file system without a kernel: names, attributes, listings, links, extended attributes."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from views.memory import EPOCH_NS, MTIME_NS, Link, Made, MemorySource, Spec, listing, paths, with_file_system

from penstock.errors import StoreUnreachableError
from penstock.manifest.hashing import content_hash
from penstock.vfs.files.errnos import Refusal
from penstock.vfs.files.filesystem import ReadOnlyFileSystem

quick = settings(
    deadline=None,
    max_examples=30,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

SPEC: Spec = {
    b"bin": {b"run": Made(b"#!/bin/sh\n", executable=True), b"again": Link(b"run")},
    b"data.txt": Made(b"hello world\n"),
    b"empty": Made(),
    b"folder": {},
    b"timeless": Made(b"x", mtime_ns=None),
}

names = st.one_of(
    st.sampled_from([b"a", b"b", b"a\nb", b"\xff\xfe", b" ", b"-", "ü".encode(), b"x" * 255]),
    st.binary(min_size=1, max_size=8).filter(lambda name: b"/" not in name and b"\0" not in name and name.strip(b".")),
)
trees = st.recursive(
    st.one_of(
        st.builds(Made, st.binary(max_size=40), st.booleans(), st.sampled_from([0, 1, MTIME_NS])),
        st.builds(Link, st.binary(min_size=1, max_size=20).filter(lambda target: b"\0" not in target)),
    ),
    lambda children: st.dictionaries(names, children, max_size=6),
    max_leaves=25,
)


async def walk(file_system: ReadOnlyFileSystem, path: tuple[bytes, ...]) -> int:
    inode = 1
    for name in path:
        found = await file_system.lookup(inode, name)
        assert found is not None
        inode = found.inode
    return inode


async def refused(answer: object) -> int:
    with pytest.raises(Refusal) as told:
        await answer  # type: ignore[misc]  # any coroutine
    return told.value.errno


def test_attributes_of_every_kind() -> None:
    async def body(fs: ReadOnlyFileSystem) -> None:
        by_path = {
            path: await fs.getattr(await walk(fs, path))
            for path in [(), (b"bin",), (b"bin", b"run"), (b"bin", b"again"), (b"data.txt",), (b"empty",)]
        }
        assert stat.filemode(by_path[()].mode) == "drwxr-xr-x"
        assert stat.filemode(by_path[b"bin",].mode) == "drwxr-xr-x"
        assert stat.filemode(by_path[b"bin", b"run"].mode) == "-rwxr-xr-x"
        assert stat.filemode(by_path[b"bin", b"again"].mode) == "lrwxrwxrwx"
        assert stat.filemode(by_path[b"data.txt",].mode) == "-rw-r--r--"
        assert by_path[b"data.txt",].size == 12
        assert by_path[b"data.txt",].blocks == 1
        assert by_path[b"empty",].size == by_path[b"empty",].blocks == 0
        assert by_path[b"bin", b"again"].size == 3
        assert by_path[()].size == by_path[b"bin",].size == 0

    with_file_system(MemorySource(SPEC), body)


def test_what_has_no_time_has_the_time_of_the_version() -> None:
    async def body(fs: ReadOnlyFileSystem) -> None:
        assert (await fs.getattr(await walk(fs, (b"timeless",)))).mtime_ns == EPOCH_NS
        assert (await fs.getattr(1)).mtime_ns == EPOCH_NS
        assert (await fs.getattr(await walk(fs, (b"data.txt",)))).mtime_ns == MTIME_NS

    with_file_system(MemorySource(SPEC), body)


def test_symlinks() -> None:
    async def body(fs: ReadOnlyFileSystem) -> None:
        assert await fs.readlink(await walk(fs, (b"bin", b"again"))) == b"run"
        assert await refused(fs.readlink(await walk(fs, (b"data.txt",)))) == errno.EINVAL
        assert await refused(fs.open(await walk(fs, (b"bin", b"again")), os.O_RDONLY)) == errno.ELOOP

    with_file_system(MemorySource(SPEC), body)


def test_names_that_are_not_there() -> None:
    async def body(fs: ReadOnlyFileSystem) -> None:
        for name in (b"nothing", b"data.tx", b"data.txt2", b"zzz", b"\0", b"x" * 300):
            assert await fs.lookup(1, name) is None
        assert await refused(fs.lookup(await walk(fs, (b"data.txt",)), b"x")) == errno.ENOTDIR
        assert await fs.lookup(await walk(fs, (b"folder",)), b"x") is None

    with_file_system(MemorySource(SPEC), body)


@pytest.mark.parametrize("inode", [0, -1, 8 + 1, 1 << 62])
def test_inodes_that_are_not_there_are_stale(inode: int) -> None:
    async def body(fs: ReadOnlyFileSystem) -> None:
        for question in (fs.getattr(inode), fs.lookup(inode, b"a"), fs.open(inode, os.O_RDONLY), fs.opendir(inode)):
            assert await refused(question) == errno.ESTALE

    source = MemorySource(SPEC)
    assert source.root.entries == 7
    with_file_system(source, body)


def test_handles_outlive_the_process_that_gave_them_out() -> None:
    """A file system that has never heard of a handle serves it: the inode is in it."""
    given: dict[str, int] = {}

    async def first(fs: ReadOnlyFileSystem) -> None:
        inode = await walk(fs, (b"data.txt",))
        given["file"] = await fs.open(inode, os.O_RDONLY)
        given["again"] = await fs.open(inode, os.O_RDONLY)
        given["root"] = await fs.opendir(1)
        given["folder"] = await fs.opendir(await walk(fs, (b"bin",)))
        given["from"] = (await fs.readdir(given["root"], 0))[2].next

    async def second(fs: ReadOnlyFileSystem) -> None:
        assert given["file"] != given["again"]
        for handle in (given["file"], given["again"]):
            assert await fs.read(handle, 6, 100) == b"world\n"
            fs.release(handle)
            fs.release(handle)
        names = [item.name for item in await fs.readdir(given["root"], given["from"])]
        everything = [item.name for item in await fs.readdir(await fs.opendir(1), 0)]
        assert names == everything[3:]
        assert [item.attributes.inode for item in await fs.readdir(given["folder"], 0)][1] == 1

    with_file_system(MemorySource(SPEC), first)
    with_file_system(MemorySource(SPEC), second)


def test_handles_of_nothing_and_of_the_wrong_kind() -> None:
    async def body(fs: ReadOnlyFileSystem) -> None:
        file = await fs.open(await walk(fs, (b"data.txt",)), os.O_RDONLY)
        directory = await fs.opendir(1)
        assert await refused(fs.readdir(file, 0)) == errno.EBADF
        assert await refused(fs.read(directory, 0, 1)) == errno.EBADF
        for nothing in (0, 100, (1 << 64) - 1):
            assert await refused(fs.read(nothing, 0, 1)) == errno.EBADF
            assert await refused(fs.readdir(nothing, 0)) == errno.EBADF

    with_file_system(MemorySource(SPEC), body)


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC])
def test_opening_to_write_is_refused(flags: int) -> None:
    async def body(fs: ReadOnlyFileSystem) -> None:
        assert await refused(fs.open(await walk(fs, (b"data.txt",)), flags)) == errno.EROFS
        assert await refused(fs.open(1, os.O_RDONLY)) == errno.EISDIR

    with_file_system(MemorySource(SPEC), body)


def test_dots_are_listed_and_looked_up() -> None:
    async def body(fs: ReadOnlyFileSystem) -> None:
        inode = await walk(fs, (b"bin",))
        handle = await fs.opendir(inode)
        items = await fs.readdir(handle, 0)
        assert [(item.name, item.attributes.inode) for item in items[:2]] == [(b".", inode), (b"..", 1)]
        for name, expected in ((b".", inode), (b"..", 1)):
            found = await fs.lookup(inode, name)
            assert found is not None
            assert found.inode == expected
        root = await fs.opendir(1)
        assert [item.attributes.inode for item in (await fs.readdir(root, 0))[:2]] == [1, 1]

    with_file_system(MemorySource(SPEC), body)


@quick
@given(st.dictionaries(names, trees, max_size=8), st.booleans())
def test_any_tree_is_what_it_was_built_from(spec: Spec, forgetful: bool) -> None:
    async def body(fs: ReadOnlyFileSystem) -> None:
        expected = dict(paths(spec))
        inodes = {path: number for number, path in enumerate(expected, 2)}
        assert fs.statfs().files == len(expected) + 1
        for path, item in expected.items():
            inode = await walk(fs, path)
            assert inode == inodes[path]
            attributes = await fs.getattr(inode)
            assert attributes.inode == inode
            if isinstance(item, Made):
                handle = await fs.open(inode, os.O_RDONLY)
                assert bytes(await fs.read(handle, 0, 1000)) == item.data
                assert bool(attributes.mode & 0o100) == item.executable
                assert attributes.size == len(item.data)
                assert attributes.mtime_ns == (EPOCH_NS if item.mtime_ns is None else item.mtime_ns)
            elif isinstance(item, Link):
                assert await fs.readlink(inode) == item.target
            else:
                assert isinstance(item, Mapping)
                listed = await listing(fs, inode)
                assert [each.name for each in listed] == sorted(item)
                for each in listed:
                    assert each.attributes == await fs.getattr(inodes[(*path, each.name)])

    with_file_system(MemorySource(spec, forgetful=forgetful), body)


def big_directory(count: int) -> Spec:
    """Return files, with a directory of two entries among them here and there."""
    return {b"%07d" % number: {b"x": Made(), b"y": Made()} if number % 97 == 5 else Made() for number in range(count)}


def test_a_listing_may_be_resumed_at_every_offset() -> None:
    source = MemorySource(big_directory(2500))

    async def body(fs: ReadOnlyFileSystem) -> None:
        items = await listing(fs, 1)
        assert [item.name for item in items] == sorted(big_directory(2500))
        assert len({item.next for item in items}) == len(items)
        handle = await fs.opendir(1)
        for number in (0, 1, 4, 5, 6, 127, 128, 129, 1000, 2498):
            # From anywhere to anywhere: what was read before must not matter.
            after = await fs.readdir(handle, items[number].next)
            assert after[0] == items[number + 1]
            rewound = await fs.readdir(handle, 0)
            assert [item.name for item in rewound[:3]] == [b".", b"..", items[0].name]
            assert (await fs.readdir(handle, 1))[0].name == b".."
            assert (await fs.readdir(handle, 2))[0] == items[0]
        assert await fs.readdir(handle, items[-1].next) == []
        assert await fs.readdir(handle, items[-1].next + 1000) == []

    with_file_system(source, body)


@quick
@given(st.data())
def test_listings_that_stop_and_jump(data: st.DataObject) -> None:
    """A reader that takes some items, jumps to an offset it has seen, and goes on, sees what lies there."""
    source = MemorySource(big_directory(700))

    async def body(fs: ReadOnlyFileSystem) -> None:
        items = await listing(fs, 1)
        offsets = {item.next: number + 1 for number, item in enumerate(items)} | {2: 0}
        handle = await fs.opendir(1)
        for _ in range(5):
            start = data.draw(st.sampled_from(sorted(offsets)))
            taken = data.draw(st.integers(1, 300))
            if data.draw(st.booleans()):
                source.forget_nodes()
            found = (await fs.readdir(handle, start))[:taken]
            at = offsets[start]
            assert found == items[at : at + len(found)]
            assert found or at == len(items)

    with_file_system(source, body)


def test_a_directory_costs_the_nodes_that_it_has() -> None:
    source = MemorySource(big_directory(5000))

    async def body(fs: ReadOnlyFileSystem) -> None:
        await listing(fs, 1)
        first = sum(source.loads.values())
        assert first == len(source.loads)  # each node once
        await listing(fs, 1)
        assert sum(source.loads.values()) == first

    with_file_system(source, body)


def test_concurrent_questions_load_a_node_once() -> None:
    source = MemorySource(SPEC)
    source.gate.clear()

    async def body(fs: ReadOnlyFileSystem) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(fs.lookup, 1, b"data.txt")
            await trio.testing.wait_all_tasks_blocked()
            source.gate.set()
        assert set(source.loads.values()) == {1}

    with_file_system(source, body)


def test_a_node_that_fails_fails_those_who_wait_and_is_tried_anew() -> None:
    source = MemorySource(SPEC)
    source.gate.clear()
    source.node_faults.append(StoreUnreachableError("down"))
    outcomes: list[str] = []

    async def ask(fs: ReadOnlyFileSystem) -> None:
        try:
            await fs.lookup(1, b"data.txt")
        except StoreUnreachableError as error:
            outcomes.append(error.what)

    async def body(fs: ReadOnlyFileSystem) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask, fs)
            await trio.testing.wait_all_tasks_blocked()
            source.gate.set()
        assert outcomes == ["down"] * 5
        assert await fs.lookup(1, b"data.txt") is not None

    with_file_system(source, body)


def test_extended_attributes() -> None:
    metadata = b'{"label":"cat","n":[1,2],"' + b"k" * 300 + b'":1,"z\\u0000":1,"\xc3\xbc":"\xc3\xa4"}'
    source = MemorySource({b"f": Made(b"data", metadata=metadata), b"d": {b"l": Link(b"x")}})

    async def body(fs: ReadOnlyFileSystem) -> None:
        inode = await walk(fs, (b"f",))
        assert await fs.getxattr(inode, b"user.penstock.hash") == content_hash(b"data").hex().encode()
        assert await fs.getxattr(inode, b"user.penstock.top_hash") == bytes(range(32)).hex().encode()
        assert await fs.getxattr(inode, b"user.penstock.commit") == bytes(range(1, 33)).hex().encode()
        assert await fs.getxattr(inode, b"user.penstock.cached") == b"0/1"
        assert await fs.getxattr(inode, b"user.penstock.physical") == b'[{"uri":"memory","offset":0,"length":4}]'
        assert {name: await fs.getxattr(inode, name) for name in await fs.listxattr(inode)} == {
            b"user.meta.label": b"cat",
            b"user.meta.n": b"[1,2]",
            "user.meta.ü".encode(): "ä".encode(),
        }
        await fs.read(await fs.open(inode, os.O_RDONLY), 0, 10)
        assert await fs.getxattr(inode, b"user.penstock.cached") == b"1/1"
        assert await fs.getxattr(1, b"user.penstock.handle") == b"memory/tree:main"
        assert await fs.getxattr(1, b"user.penstock.bytes_fetched") == b"4"
        link = await walk(fs, (b"d", b"l"))
        assert await fs.listxattr(link) == []
        for name in (b"user.other", b"security.capability", b"user.penstock.handle", b"user.meta."):
            assert await refused(fs.getxattr(inode, name)) == errno.ENODATA

    with_file_system(source, body)


def test_without_a_commit_there_is_no_commit_attribute() -> None:
    source = MemorySource(SPEC)
    source.commit_id = None

    async def body(fs: ReadOnlyFileSystem) -> None:
        assert await refused(fs.getxattr(1, b"user.penstock.commit")) == errno.ENODATA

    with_file_system(source, body)


def test_lists_of_attributes_stay_within_what_linux_takes() -> None:
    metadata = b"{" + b",".join(b'"%05d":1' % number for number in range(6500)) + b"}"
    source = MemorySource({b"f": Made(b"x", metadata=metadata)})

    async def body(fs: ReadOnlyFileSystem) -> None:
        listed = await fs.listxattr(2)
        assert len(b"\0".join(listed)) + 1 <= 64 << 10
        assert b"user.meta.00000" in listed

    with_file_system(source, body)


def test_size_of_the_whole() -> None:
    async def body(fs: ReadOnlyFileSystem) -> None:
        size = fs.statfs()
        assert size.unit * size.blocks >= 23
        assert size.blocks == 1
        assert size.files == 8

    with_file_system(MemorySource(SPEC), body)


def test_the_size_of_nothing() -> None:
    async def body(fs: ReadOnlyFileSystem) -> None:
        assert (fs.statfs().blocks, fs.statfs().files) == (0, 1)
        assert await listing(fs, 1) == []

    with_file_system(MemorySource({}), body)
