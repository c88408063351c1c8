"""File handles that need no memory: which inode they are of is written in them.

The kernel keeps a handle for as long as the file is open, and that may be longer than the process lives that gave it
out. The process after it has never heard of the handle and serves it all the same.

Above the inode is a number that tells apart the openings of one file in one process; it only keeps their read-ahead
apart.
"""

from __future__ import annotations

import itertools
from typing import NewType

from penstock.manifest.tree import Inode

__all__ = ["FileHandle", "Handles", "inode_of"]

FileHandle = NewType("FileHandle", int)

_INODE_BITS = 49
"""A version has fewer than 2**48 entries (`manifest.rules`), and inodes begin with 1."""
_NUMBERS = 1 << (64 - _INODE_BITS)


class Handles:
    """Gives out handles."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def new(self, inode: int) -> FileHandle:
        """Return a handle of an inode; of those that are open, another one each time as far as 32,768 go."""
        return FileHandle(next(self._numbers) % _NUMBERS << _INODE_BITS | inode)


def inode_of(handle: int) -> Inode:
    """Return the inode that a handle is of."""
    return Inode(handle & ((1 << _INODE_BITS) - 1))
