"""What `warm` is to put into the cache: all blocks of some files, or those that a trace lists. Blocking."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import NamedTuple, Protocol

from penstock.errors import AccessError, IntegrityError, NotFoundError, UsageError
from penstock.manifest.entry import BLOCK_SIZE, PAGE_BLOCKS, NodeRef, TreeEntry, block_count, split_path
from penstock.manifest.tree import Tree
from penstock.repo.bucket.disk_sets import Marks

from .trace import Trace

__all__ = ["FilesBelow", "FilesListed", "Selection", "Wanted"]


_MOST_BLOCKS = PAGE_BLOCKS
"""Blocks that are yielded together, so that a file of any size is gone through in little memory."""


class Wanted(NamedTuple):
    """Some blocks of a file; `more`: further ones of a file whose first came before."""

    entry: TreeEntry
    blocks: range
    more: bool = False

    @property
    def size(self) -> int:
        """Bytes of the blocks."""
        if not self.blocks:
            return 0
        return min(self.blocks.stop * BLOCK_SIZE, self.entry.size) - self.blocks.start * BLOCK_SIZE


class Selection(Protocol):
    """Yields what is wanted, once. The numbers are final when all of it was yielded."""

    size: int
    """Bytes that are expected, in all."""
    absent: int
    """Bytes of them that the version does not have."""
    unreadable: list[tuple[NodeRef, IntegrityError | AccessError]]
    """Nodes that are damaged, or that the store does not give out: what lies below them was not yielded."""
    repeated: int
    """Bytes of them in directories, and slices of directories, that are equal to one that was yielded."""
    scattered: bool
    """Whether they come in another order than that of the tree."""

    @property
    def gone(self) -> int:
        """How many paths the version does not have."""
        ...

    def __iter__(self) -> Generator[Wanted, None, None]: ...  # as the class says


class FilesBelow:
    """All files below some entries, in tree order; equal directories once."""

    absent = 0
    gone = 0
    scattered = False

    def __init__(self, tree: Tree, tops: Sequence[TreeEntry]) -> None:
        self._tree = tree
        self._tops = tops
        self.size = sum(top.size for top in tops)
        self.repeated = 0
        self.unreadable: list[tuple[NodeRef, IntegrityError | AccessError]] = []

    def __iter__(self) -> Generator[Wanted, None, None]:
        with Marks() as marks:

            def first(ref: NodeRef) -> bool:
                is_first = marks.visit(ref.hash)
                self.repeated += 0 if is_first else ref.size
                return is_first

            for top in self._tops:
                entries = self._entries(top, first)
                for entry in entries:
                    if entry.is_file:
                        blocks = block_count(entry.size)
                        for start in range(0, max(blocks, 1), _MOST_BLOCKS):
                            yield Wanted(entry, range(start, min(start + _MOST_BLOCKS, blocks)), start > 0)

    def _entries(self, top: TreeEntry, first: Callable[[NodeRef], bool]) -> Iterator[TreeEntry]:
        if top.directory is None:
            return iter((top,))
        return self._tree.walk_once(top.directory, first, lambda *told: self.unreadable.append(told))


class FilesListed:
    """What a trace lists, in its order, as far as the version has it."""

    scattered = True
    repeated = 0

    def __init__(self, tree: Tree, trace: Trace) -> None:
        self._tree = tree
        self._trace = trace
        self._gone: set[str] = set()
        self.size = trace.size
        self.absent = 0
        self.unreadable: list[tuple[NodeRef, IntegrityError | AccessError]] = []

    @property
    def gone(self) -> int:
        """How many paths the version does not have as files."""
        return len(self._gone)

    def __iter__(self) -> Generator[Wanted, None, None]:
        for access in self._trace:
            try:
                entry = self._tree.resolve(split_path(access.path))[1]
            except (NotFoundError, UsageError):  # the latter: a name that no version can have
                entry = None
            if entry is None or not entry.is_file:
                self._gone.add(access.path)
                self.absent += access.size
                continue
            stop = min(access.first + access.count, block_count(entry.size))
            wanted = Wanted(entry, range(min(access.first, stop), stop))
            self.absent += access.size - wanted.size  # not 0 when it has another size in this version
            yield wanted
