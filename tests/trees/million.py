"""A program for `test_scale`: build a million entries, look some up, change one, merge. Fails by an assertion.

A process of its own, so that its peak of memory is that of the work.
"""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path
from typing import IO

from penstock.manifest.build import TreeBuilder
from penstock.manifest.codec import decode_node
from penstock.manifest.diff import diff
from penstock.manifest.entry import Extent, Kind, Location, NodeRef, TreeEntry
from penstock.manifest.hashing import content_hash
from penstock.manifest.merge import merge
from penstock.manifest.node import Node
from penstock.manifest.tree import Inode, Tree
from penstock.manifest.update import Edit, update
from penstock.repo.history.comparison import Contents, tally

FOLDERS, FILES, FLAT = 500, 1000, 500_000
MOST_LOADS = 4
_DIGEST = content_hash(b"x")


class FileSink:
    """Keeps frames in a file, as packs would; counts."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._end = 0
        self.loads = 0
        self.writes = 0

    def write(self, frame: bytes) -> Location:
        """Append a frame."""
        where = Location(bytes(32), self._end, len(frame), content_hash(frame))
        os.pwrite(self._file.fileno(), frame, self._end)
        self._end += len(frame)
        self.writes += 1
        return where

    def write_apart(self, frame: bytes) -> Location:
        """No entry has so much metadata."""
        raise AssertionError(len(frame))

    def resolve(self, pack: bytes) -> bytes:
        """All is in one pack."""
        return pack

    def load(self, ref: NodeRef) -> Node:
        """Read a node back."""
        self.loads += 1
        return decode_node(os.pread(self._file.fileno(), ref.location.length, ref.location.offset), ref)


def _peak() -> int:
    """Return the most memory this process has had, in MiB. (ru_maxrss starts at what the parent had.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) >> 10


def _file(name: bytes, number: int) -> TreeEntry:
    return TreeEntry(name, Kind.FILE, 1000, _DIGEST, number, extents=(Extent(_DIGEST, number, 1000),))


def _build(sink: FileSink) -> NodeRef:
    builder = TreeBuilder(sink)
    early = 0
    builder.enter(b"flat")
    for number in range(FLAT):
        builder.add(_file(b"%08d.png" % number, number))
        if number == FLAT // 10:
            early = _peak()
    builder.leave()
    for folder in range(FOLDERS):
        builder.enter(b"folder%04d" % folder)
        for number in range(FILES):
            builder.add(_file(b"%04d.png" % number, number))
        builder.leave()
    root = builder.finish()
    grown = _peak() - early
    assert grown < 10, f"{grown} MiB more for twenty times the entries"
    assert root.entries == FLAT + FOLDERS * FILES + FOLDERS + 1, root
    return root


def _look_up(root: NodeRef, sink: FileSink) -> None:
    tree = Tree(root, sink.load)
    chance = random.Random(7)
    for _ in range(200):
        if chance.random() < 0.5:
            names = (b"flat", b"%08d.png" % chance.randrange(FLAT))
        else:
            names = (b"folder%04d" % chance.randrange(FOLDERS), b"%04d.png" % chance.randrange(FILES))
        sink.loads = 0
        inode, found = tree.resolve(names)
        assert sink.loads <= MOST_LOADS, sink.loads
        assert found.name == names[-1]
        sink.loads = 0
        assert tree.path_of(inode) == names
        assert sink.loads <= MOST_LOADS, sink.loads
    for number in (2, 3, root.entries, root.entries + 1):
        assert tree.resolve(tree.path_of(Inode(number)))[0] == number


def _change_one(root: NodeRef, sink: FileSink) -> None:
    path = (b"flat", b"00250000.png")
    sink.writes = sink.loads = 0
    changed = update(root, [Edit(path, TreeEntry(path[-1], Kind.FILE, 0, content_hash(b"")))], sink.load, sink)
    assert sink.writes <= MOST_LOADS, sink.writes
    assert sink.loads <= MOST_LOADS, sink.loads
    sink.loads = 0
    assert [change.path for change in diff(root, changed, sink.load, sink.load)] == [path]
    assert sink.loads <= 2 * MOST_LOADS, sink.loads


def _merge(root: NodeRef, sink: FileSink) -> None:
    """Merge a file changed on one side with half a million that the other side moved; compare the result."""
    path = (b"folder0001", b"0500.png")
    flat = Tree(root, sink.load).resolve((b"flat",))[1]
    moved = TreeEntry(b"moved", Kind.DIRECTORY, flat.size, flat.hash, directory=flat.directory)
    ours = update(root, [Edit(path, TreeEntry(path[-1], Kind.FILE, 0, content_hash(b"")))], sink.load, sink)
    theirs = update(root, [Edit((b"flat",), None), Edit((b"moved",), moved)], sink.load, sink)
    sink.writes = sink.loads = 0
    merged = merge(root, ours, theirs, sink.load, sink, bytes)  # type: ignore[arg-type]  # there is none
    assert merged.root is not None
    assert (merged.ours, merged.theirs) == (1, 2)
    assert sink.loads <= 6 * MOST_LOADS, sink.loads
    assert sink.writes <= MOST_LOADS, sink.writes
    sink.loads = 0
    count = tally(Contents(root, sink.load), Contents(merged.root, sink.load))
    assert (count.added, count.modified, count.deleted) == (FLAT + 1, 1, FLAT + 1)
    assert sink.loads <= 2 * MOST_LOADS, sink.loads


if __name__ == "__main__":
    with tempfile.TemporaryFile() as file:
        frames = FileSink(file)
        top = _build(frames)
        _look_up(top, frames)
        _change_one(top, frames)
        _merge(top, frames)
