"""Where the first MiB of a changed file lies: in one file with those of the inodes around it, each at its own place.

To make a file of 4 KB takes ext4 22 us, up to 400 where many were deleted lately, and to write them to such a place 7.
Files that are made one after the other have inodes that follow each other. A *group* is the inodes that differ in
their last six bits only, at one generation; the place of an inode in the group's file is what those bits say. Takes a
disk where a part of a file can be given back.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator

from .libc import punch_hole

__all__ = ["GROUP_BYTES", "HEAD_BYTES", "Key", "group_of", "has_holes", "members", "place_of", "with_data"]

HEAD_BYTES = 1 << 20
_BITS = 6
GROUP_BYTES = HEAD_BYTES << _BITS
_REFUSALS = errno.EOPNOTSUPP, errno.ENOSPC, errno.EDQUOT

Key = tuple[int, int]
"""Inode and generation; of a group, a negative number and the generation."""


def group_of(key: Key) -> Key:
    """Return the key of the group whose heads lie together."""
    return -1 - (key[0] >> _BITS), key[1]


def members(group: Key) -> range:
    """Return the inodes of a group."""
    first = -1 - group[0] << _BITS
    return range(first, first + (1 << _BITS))


def place_of(key: Key) -> int:
    """Return the offset of an inode's first byte in its group's file."""
    return (key[0] & (1 << _BITS) - 1) * HEAD_BYTES


def with_data(descriptor: int, group: Key) -> Iterator[Key]:
    """Yield the keys of those in a group's file that may have bytes there. OSError."""
    inodes = members(group)
    at = 0
    while at < GROUP_BYTES:
        try:
            found = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return
        yield inodes[found // HEAD_BYTES], group[1]
        at = (found // HEAD_BYTES + 1) * HEAD_BYTES


def has_holes(directory: str) -> bool:
    """Whether a part of a file can be given back on the disk of a directory; on a full one, no. OSError."""
    try:
        with tempfile.TemporaryFile(buffering=0, dir=directory) as stream:
            descriptor = stream.fileno()
            os.pwrite(descriptor, b"probe", 0)
            punch_hole(descriptor, 0, HEAD_BYTES)
            return next(with_data(descriptor, group_of((0, 0))), None) is None
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        return False
