"""What `warming` is to put into the cache: all blocks of some files, or those that a trace lists. Blocking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from penstock.errors import NotFoundError, UsageError
from penstock.manifest.entry import BLOCK_SIZE, Entry, block_count, split_path
from penstock.manifest.tree import Tree

from .traces import Trace

__all__ = ["Below", "Listed", "Selection", "Wanted"]


class Wanted(NamedTuple):
    """Some blocks of a file."""

    entry: Entry
    blocks: range

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
    scattered: bool
    """Whether they come in another order than that of the tree."""

    @property
    def gone(self) -> int:
        """How many paths the version does not have."""
        ...

    def __iter__(self) -> Iterator[Wanted]: ...  # as the class says


class Below:
    """All files below some entries, in tree order."""

    absent = 0
    gone = 0
    scattered = False

    def __init__(self, tree: Tree, tops: Sequence[Entry]) -> None:
        self._tree = tree
        self._tops = tops
        self.size = sum(top.size for top in tops)

    def __iter__(self) -> Iterator[Wanted]:
        for top in self._tops:
            entries = (entry for _, entry in self._tree.walk(top.directory)) if top.directory else iter((top,))
            for entry in entries:
                if entry.is_file:
                    yield Wanted(entry, range(block_count(entry.size)))


class Listed:
    """What a trace lists, in its order, as far as the version has it."""

    scattered = True

    def __init__(self, tree: Tree, trace: Trace) -> None:
        self._tree = tree
        self._trace = trace
        self._gone: set[str] = set()
        self.size = trace.size
        self.absent = 0

    @property
    def gone(self) -> int:
        """How many paths the version does not have as files."""
        return len(self._gone)

    def __iter__(self) -> Iterator[Wanted]:
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
