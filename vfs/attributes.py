"""Attributes of files as the file system gives them, without any kernel's types. Pure.

Whatever the version does not record is fixed here: permission bits, link counts, sizes of directories.
docs/SEMANTICS.md says what each means to a program.
"""

from __future__ import annotations

import stat

import msgspec

from penstock.manifest.entry import Entry, Kind, NodeRef

__all__ = ["Attributes", "FileSystemSize", "attributes_of", "file_system_size"]

_MODES = (
    stat.S_IFREG | 0o644,
    stat.S_IFREG | 0o755,
    stat.S_IFDIR | 0o755,
    stat.S_IFLNK | 0o777,
)
"""By `Kind`. The write bits are what a copy should have; the mount itself is read-only whatever they say."""
assert [kind.value for kind in Kind] == list(range(len(_MODES)))

_UNIT = 4096


class Attributes(msgspec.Struct, frozen=True, gc=False):
    """What stat(2) says of one inode. `size` in bytes, `blocks` in units of 512 bytes."""

    inode: int
    mode: int
    size: int
    blocks: int
    mtime_ns: int


class FileSystemSize(msgspec.Struct, frozen=True):
    """What statvfs(3) says: `blocks` of `unit` bytes, all used, and `files` inodes, all used."""

    unit: int
    blocks: int
    files: int


def attributes_of(inode: int, entry: Entry, epoch_ns: int) -> Attributes:
    """Return an entry's attributes; one without a time of its own has `epoch_ns`, the version's."""
    # A directory has size 0: its recursive size would be counted twice by du --apparent-size.
    size = 0 if entry.kind is Kind.DIRECTORY else entry.size
    return Attributes(inode, _MODES[entry.kind], size, (size + 511) >> 9, entry.mtime_ns or epoch_ns)


def file_system_size(root: NodeRef) -> FileSystemSize:
    """Return the size of the whole tree: every byte is in use, none is free."""
    return FileSystemSize(_UNIT, -(-root.size // _UNIT), root.entries + 1)
