"""The files of a version that a training job is about, by number: positions in the tree, and no entries. Pure.

**Invariant:** what is held is two numbers a run of files that follow each other in the tree: for all files of a version
about two a directory, for those that a filter has left 16 bytes each at the most.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from hashlib import blake2b

from penstock.manifest.tree import Inode

__all__ = ["FileNumbers"]


class FileNumbers:
    """From the number of a file, 0 the first in tree order, to its inode number. Made of ascending ranges of those."""

    __slots__ = ("_firsts", "_starts", "_total")

    def __init__(self, runs: Iterable[range]) -> None:
        self._starts: array[int] = array("Q")
        self._firsts: array[int] = array("Q")
        total, stop = 0, -1
        for run in runs:
            if run.start != stop:
                self._starts.append(run.start)
                self._firsts.append(total)
            total, stop = total + len(run), run.stop
        self._total = total

    def __len__(self) -> int:
        return self._total

    def __getitem__(self, number: int) -> Inode:
        if not 0 <= number < self._total:
            raise IndexError(number)
        at = bisect_right(self._firsts, number) - 1
        return Inode(self._starts[at] + number - self._firsts[at])

    def digest(self) -> bytes:
        """Return a hash of which files these are."""
        told = blake2b(self._total.to_bytes(8), digest_size=16)
        for numbers in (self._starts, self._firsts):
            told.update(numbers.tobytes())
        return told.digest()
