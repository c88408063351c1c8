"""Attributes of files as the file system gives them, without any kernel's types. Pure.

Whatever the version does not record is fixed here: link counts, sizes of directories.
docs/SEMANTICS.md says what each means to a program.
"""

from __future__ import annotations

import stat

import msgspec

from penstock.manifest.entry import BLOCK_SIZE, PAGE_BLOCKS, Kind, NodeRef, TreeEntry
from penstock.manifest.file_attributes import DEFAULT_UMASK, shown_mode
from penstock.manifest.hashing import HASH_SIZE, zero_block_hash, zero_page_hash
from penstock.overlay.tables.schema import InodeRecord

__all__ = [
    "Attributes",
    "FileSystemSize",
    "attributes_of",
    "attributes_of_record",
    "file_system_size",
    "holes_of",
]

_TYPES = (stat.S_IFREG, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
"""By `Kind`. A mount that is read-only is so whatever permission bits say."""
assert [kind.value for kind in Kind] == list(range(len(_TYPES)))

_UNIT = 4096


class Attributes(msgspec.Struct, frozen=True, gc=False):
    """What stat(2) says of one inode. `size` in bytes, `blocks` in units of 512 bytes.

    `ctime_ns` and `atime_ns` are None where they are as `mtime_ns`, `uid` and `gid` where they are the mount's.
    """

    inode: int
    mode: int
    size: int
    blocks: int
    mtime_ns: int
    ctime_ns: int | None = None
    atime_ns: int | None = None
    uid: int | None = None
    gid: int | None = None
    links: int = 1


class FileSystemSize(msgspec.Struct, frozen=True):
    """What statvfs(3) says: `blocks` of `unit` bytes and `files` inodes, and how many of each are free."""

    unit: int
    blocks: int
    files: int
    free_blocks: int = 0
    free_files: int = 0


def attributes_of(inode: int, entry: TreeEntry, epoch_ns: int, umask: int = DEFAULT_UMASK) -> Attributes:
    """Return an entry's attributes; one without a time of its own has `epoch_ns`, the version's."""
    kind = entry.kind
    # A directory has size 0: its recursive size would be counted twice by du --apparent-size.
    size = 0 if kind is Kind.DIRECTORY else entry.size
    mode = _TYPES[kind] | shown_mode(kind, entry.metadata, umask)
    stored = size if size <= BLOCK_SIZE else size - holes_of(entry)
    mtime_ns = epoch_ns if entry.mtime_ns is None else entry.mtime_ns
    return Attributes(inode, mode, size, (stored + 511) >> 9, mtime_ns)


def holes_of(entry: TreeEntry) -> int:
    """Return how many bytes of a file are whole blocks of zeros; of a large one, whole pages of them."""
    zeros, blocks = zero_block_hash(), entry.blocks
    count = sum(page.hash == zero_page_hash() for page in entry.pages) * PAGE_BLOCKS
    if zeros in blocks:
        count += sum(blocks[at : at + HASH_SIZE] == zeros for at in range(0, len(blocks), HASH_SIZE))
    return count * BLOCK_SIZE


def attributes_of_record(inode: int, record: InodeRecord, stored: int | None = None) -> Attributes:
    """Return the attributes of what was changed; `stored`: how much of it is no hole, if that is less than all."""
    size = record.size
    return Attributes(
        inode,
        (record.special or _TYPES[record.kind]) | record.mode,
        size,
        ((size if stored is None else stored) + 511) >> 9,
        record.mtime_ns,
        record.ctime_ns,
        0 if record.atime_ns is None else record.atime_ns or None,
        record.uid,
        record.gid,
        0 if record.parent == 0 else record.links or 1,
    )


def file_system_size(root: NodeRef) -> FileSystemSize:
    """Return the size of the whole tree: every byte is in use, none is free."""
    return FileSystemSize(_UNIT, -(-root.size // _UNIT), root.entries + 1)
