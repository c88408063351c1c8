"""Files that are attached to a version's commit, at the root of a mount."""

from __future__ import annotations

import errno
import os

import pytest
import trio
from views.memory import EPOCH_NS, Made, MemorySource, listing

from penstock.errors import NotFoundError
from penstock.manifest.entry import NodeRef
from penstock.vfs.files.errnos import Refusal
from penstock.vfs.files.filesystem import ReadOnlyFileSystem
from penstock.vfs.source.workers import Workers

DATABASE = b"SQLite format 3" * 9


class Attached(MemorySource):
    """A version with something attached, whose nodes lie where those of the version do."""

    def __init__(self, spec, attached):
        super().__init__(spec)
        version = self.root
        other = MemorySource(attached)
        self.attachments: NodeRef = other.root
        self._other = other
        assert self.root is version

    def peek(self, ref):
        return self._other.peek(ref) if ref.hash == self.attachments.hash else super().peek(ref)

    def load(self, ref):
        return self._other.load(ref) if ref.hash == self.attachments.hash else super().load(ref)

    def fetch_region(self, region):
        found = {piece.digest for piece in region.pieces} & self._other.store.keys()
        return self._other.fetch_region(region) if found else super().fetch_region(region)

    def fetch_blocks(self, entry, first, count):
        is_other = entry.hash in self._other.store
        return self._other.fetch_blocks(entry, first, count) if is_other else super().fetch_blocks(entry, first, count)


def run(source, body, attachments):
    async def main():
        async with trio.open_nursery() as nursery:
            file_system = ReadOnlyFileSystem(source, nursery, Workers(), epoch_ns=EPOCH_NS, attachments=attachments)
            with trio.fail_after(30):
                await body(file_system)
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_attached_files_follow_all_that_the_version_has():
    spec = {b"image": {b"%d" % number: Made(b"%d" % number) for number in range(300)}, b"z": Made(b"last")}
    source = Attached(spec, {b"dataset.sqlite": Made(DATABASE)})

    async def body(fs):
        found = await listing(fs, 1)
        assert [item.name for item in found] == [b"image", b"z", b"dataset.sqlite"]
        last = found[-1].attributes
        assert last.inode > 1 + source.root.entries
        looked_up = await fs.lookup(1, b"dataset.sqlite")
        assert looked_up == last == await fs.getattr(last.inode)
        assert last.size == len(DATABASE)
        handle = await fs.open(last.inode, os.O_RDONLY)
        assert bytes(await fs.read(handle, 3, 20)) == DATABASE[3:23]
        assert await fs.path(last.inode) == b"dataset.sqlite"
        folder = await fs.lookup(1, b"image")
        assert await fs.lookup(folder.inode, b"dataset.sqlite") is None
        directory = await fs.opendir(1)
        assert await fs.readdir(directory, found[-1].next) == []
        assert [item.name for item in await fs.readdir(directory, found[-2].next)] == [b"dataset.sqlite"]
        for inode in (last.inode ^ 1, 2 + source.root.entries):
            with pytest.raises(Refusal) as refused:
                await fs.getattr(inode)
            assert refused.value.errno == errno.ESTALE
        # brought to another version, whoever has it open reads what he opened
        fs.attach(None)
        assert [item.name for item in await listing(fs, 1)] == [b"image", b"z"]
        assert await fs.lookup(1, b"dataset.sqlite") is None
        assert bytes(await fs.read(handle, 0, 9)) == DATABASE[:9]
        assert (await fs.getattr(last.inode)).size == len(DATABASE)

    run(source, body, source.attachments)


def test_a_name_that_the_version_has_is_its_own():
    source = Attached({b"dataset.sqlite": Made(b"mine")}, {b"dataset.sqlite": Made(DATABASE)})

    async def body(fs):
        assert [item.name for item in await listing(fs, 1)] == [b"dataset.sqlite"]
        found = await fs.lookup(1, b"dataset.sqlite")
        assert found.size == 4

    run(source, body, source.attachments)


def test_a_version_is_whole_without_what_cannot_be_found():
    source = Attached({b"a": Made(b"a")}, {b"dataset.sqlite": Made(DATABASE)})

    def gone(ref):
        raise NotFoundError("the pack is gone")

    source._other.load = gone
    source._other.forgetful = True

    async def body(fs):
        assert [item.name for item in await listing(fs, 1)] == [b"a"]
        assert await fs.lookup(1, b"dataset.sqlite") is None

    run(source, body, source.attachments)
