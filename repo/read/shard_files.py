"""The files of a version with their numbers in its tree, for `shard_plan`; and the files of a shard, from numbers.

Numbers are inode numbers of the snapshot's root: a shard is a few pairs of them, whatever it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from penstock.manifest.entry import TreeEntry
from penstock.manifest.tree import ROOT_INODE, Inode

from .shard_plan import ShardFile
from .snapshot import Snapshot

__all__ = ["numbered_files", "record_of", "shard_entries", "shard_files"]

_Names = tuple[bytes, ...]


def record_of(names: _Names) -> _Names:
    """Return what the files of one record have in common: directory, and name up to the first dot.

    ``a/cat.jpg`` and ``a/cat.seg.png`` are one record, ``a/cat``. A name without a dot, or that begins with one, is one
    by itself.
    """
    *above, name = names
    stem = name.partition(b".")[0]
    return (*above, stem or name)


def numbered_files(snapshot: Snapshot) -> Iterator[tuple[int, _Names, TreeEntry]]:
    """Yield the files of a version in tree order, with their numbers."""
    for number, (names, entry) in enumerate(snapshot.tree.walk(), ROOT_INODE + 1):
        if entry.is_file:
            yield number, names, entry


def shard_files(files: Iterable[tuple[int, _Names, TreeEntry]], *, records: bool = False) -> Iterator[ShardFile]:
    """Yield numbered files as a plan of shards takes them; with `records`, files of one stay together."""
    last: _Names = ()
    for number, names, entry in files:
        stem = record_of(names) if records else ()
        yield ShardFile(number, entry, joined=records and stem == last and b"." in names[-1])
        last = stem if b"." in names[-1] else ()


def shard_entries(snapshot: Snapshot, runs: Iterable[tuple[int, int]]) -> Iterator[tuple[_Names, TreeEntry]]:
    """Yield the files of some runs with their paths, in tree order. NotFoundError: they are of another version."""
    tree = snapshot.tree
    for start, stop in runs:
        above: list[tuple[int, bytes]] = []  # the directories that lead to it: number behind each, and its name
        names, _ = tree.locate(Inode(start))
        for depth in range(1, len(names)):
            number, entry = tree.resolve(names[:depth])
            above.append((number + 1 + entry.entries, names[depth - 1]))
        for number, entry in tree.walk_from(Inode(start)):
            if number >= stop:
                break
            while above and number >= above[-1][0]:
                above.pop()
            if entry.directory is not None:
                above.append((number + 1 + entry.entries, entry.name))
            elif entry.is_file:
                yield (*(name for _, name in above), entry.name), entry
