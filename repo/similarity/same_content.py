"""Which files of one version, or of two, hold the same: told by the hashes in their trees, so that nothing is read.

Each node is looked at once. A directory that is there a second time, under any name, is told as a whole, and its files
are not told again. Files without bytes are all equal, which says nothing: they are left out, and symlinks are.

    leaves (manifest/tree) ── records of hash, place, name ── sorted on disk (record_sort) ── neighbours of one hash

Memory does not grow with the versions. Pure but for the temporary files; one thread.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

from penstock.errors import AccessError
from penstock.lru import Lru
from penstock.manifest.descend import LoadNode
from penstock.manifest.entry import Kind, NodeRef
from penstock.manifest.hashing import HASH_SIZE
from penstock.manifest.node import Leaf
from penstock.manifest.tree import ROOT_INODE, Inode, Tree
from penstock.progress import SILENT, Stage
from penstock.repo.bucket.disk_sets import Marks

from .record_sort import RecordSort

__all__ = ["MOST_PATHS", "SameContent", "TreeSide", "same_content"]

MOST_PATHS = 10_000
"""Paths that are told of one content; all are counted."""
_GROUPS_TOGETHER = 20_000
"""Places whose directories are looked up together, in tree order: neighbours share the nodes that lead to them."""
_PATH_BYTES = 16 << 20
_FACTS = struct.Struct(">BBQQQ")
"""Whether it is a directory, its side, its size, how many entries lie below it, the inode of its parent (0: none)."""
_EXECUTABLE = int(Kind.EXECUTABLE)
_SAME = HASH_SIZE + 1
"""Bytes that records of the same content have in common."""
_PLAIN = SILENT.stage("looking")


class TreeSide(NamedTuple):
    """A tree that is looked at: a version, or a directory of one."""

    root: NodeRef
    load: LoadNode


class SameContent(NamedTuple):
    """What lies at several places: `size` bytes with `digest`, in a file, or in a directory of so many `entries`.

    `counts` are the places on each side; `paths` are the first `MOST_PATHS` of them, in tree order.
    """

    digest: bytes
    is_directory: bool
    size: int
    entries: int
    counts: tuple[int, ...]
    paths: tuple[tuple[tuple[bytes, ...], ...], ...]


class _Place(NamedTuple):
    side: int
    parent: Inode
    name: bytes


class _Group(NamedTuple):
    digest: bytes
    facts: tuple[int, int, int]
    counts: list[int]
    places: list[_Place]


def same_content(sides: Sequence[TreeSide], *, stage: Stage = _PLAIN) -> Iterator[SameContent]:
    """Yield what lies at several places, in the order of hashes; of several sides, only what is on each of them.

    `stage` is told of entries. AccessError: there is no room for temporary files.
    """
    with _marks() as seen, closing(RecordSort()) as sort:
        for number, side in enumerate(sides):
            _add_side(sort, number, side, seen.visit, stage)
        batch: list[_Group] = []
        waiting = 0
        paths = _Paths(sides)
        for group in _groups(sort, len(sides)):
            batch.append(group)
            waiting += len(group.places)
            if waiting >= _GROUPS_TOGETHER:
                yield from paths.tell(batch)
                batch, waiting = [], 0
        yield from paths.tell(batch)


def _marks() -> Marks:
    try:
        return Marks()
    except OSError as error:
        raise AccessError("there is no room for a temporary file", why=error.strerror or str(error)) from error


def _add_side(sort: RecordSort, number: int, side: TreeSide, first: Callable[[bytes], bool], stage: Stage) -> None:
    root = side.root
    if root.entries:
        sort.add([root.hash + _FACTS.pack(1, number, root.size, root.entries, 0)])
    if not root.entries or not first(root.hash):
        return
    for parent, _, leaf in Tree(root, side.load).leaves(lambda ref: ref.entries > 0 and first(ref.hash)):
        sort.add(_records(leaf, number, parent))
        stage.advance(len(leaf))


def _records(leaf: Leaf, side: int, parent: Inode) -> list[bytes]:
    pack = _FACTS.pack
    records = [
        digest + pack(0, side, size, 0, parent) + name
        for name, kind, size, digest in leaf.facts()
        if size and kind <= _EXECUTABLE
    ]
    records += [
        below.hash + pack(1, side, below.size, below.entries, parent) + name
        for name, below in leaf.directories()
        if below.entries
    ]
    return records


def _groups(sort: RecordSort, sides: int) -> Iterator[_Group]:
    group: _Group | None = None
    last = b""
    for record in sort:
        if record[:_SAME] != last[:_SAME]:  # nearly all of them
            if group is not None and all(group.counts):
                yield group
            group = None
        else:
            if group is None:
                is_directory, _, size, entries, _ = _FACTS.unpack_from(record, HASH_SIZE)
                group = _Group(record[:HASH_SIZE], (is_directory, size, entries), [0] * sides, [])
                _add_place(group, last)
            _add_place(group, record)
        last = record
    if group is not None and all(group.counts):
        yield group


def _add_place(group: _Group, record: bytes) -> None:
    _, side, _, _, parent = _FACTS.unpack_from(record, HASH_SIZE)
    group.counts[side] += 1
    if group.counts[side] <= MOST_PATHS:
        group.places.append(_Place(side, Inode(parent), record[HASH_SIZE + _FACTS.size :]))


class _Paths:
    """Says where places are, by the directories that they lie in."""

    def __init__(self, sides: Sequence[TreeSide]) -> None:
        self._trees = [Tree(side.root, side.load) for side in sides]
        self._known: Lru[tuple[int, Inode], tuple[bytes, ...]] = Lru(_PATH_BYTES)

    def tell(self, groups: list[_Group]) -> Iterator[SameContent]:
        """Yield groups with their paths."""
        for side, parent in sorted({(each.side, each.parent) for group in groups for each in group.places}):
            self._directory(side, parent)
        for digest, (is_directory, size, entries), counts, places in groups:
            paths: list[list[tuple[bytes, ...]]] = [[] for _ in counts]
            for side, parent, name in places:
                paths[side].append((*self._directory(side, parent), name) if parent else ())
            told = tuple(map(tuple, paths))
            yield SameContent(digest, bool(is_directory), size, entries, tuple(counts), told)

    def _directory(self, side: int, parent: Inode) -> tuple[bytes, ...]:
        if parent <= ROOT_INODE:
            return ()
        found = self._known.get((side, parent))
        if found is None:
            found = self._trees[side].path_of(parent)
            self._known.put((side, parent), found, 100 + sum(map(len, found)))
        return found
