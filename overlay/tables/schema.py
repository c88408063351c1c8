"""What the upper layer keeps: tables, their keys, and the record of an inode. Pure; the layout is docs/design/007.

| table | key | value |
|---|---|---|
| META | a name | see `meta` |
| NAMES | parent inode, name | `Name` |
| ORDER | parent inode, cookie | name: what was added to a directory, in the order of adding |
| INODES | inode | `InodeRecord` |
| RANGES | inode, generation, start | end: bytes of a data file that hold content |
| GRAFTS | first inode | NodeRef: a directory of another version, whose inodes follow on |
| SUMS | inode, generation, block | hash of the content in a MiB of a data file: see `sums` |

Numbers in keys are big-endian, so that keys sort as numbers do.
"""

from __future__ import annotations

import stat
import struct
from typing import NamedTuple

import msgspec

from penstock.manifest.entry import Kind, Metadata, NodeRef, TreeEntry
from penstock.manifest.file_attributes import kept_mode, with_mode

__all__ = [
    "FIRST_NEW_INODE",
    "GRAFTS",
    "INODES",
    "META",
    "NAMES",
    "ORDER",
    "OVER",
    "RANGES",
    "SEVERAL",
    "SUMS",
    "TABLES",
    "InodeRecord",
    "Name",
    "TableChange",
    "decode_entry",
    "decode_ref",
    "encode_entry",
    "encode_ref",
    "inode_key",
    "name_key",
    "order_key",
    "range_key",
    "sum_key",
]

META, NAMES, ORDER, INODES, RANGES, GRAFTS, SUMS = range(7)
TABLES = (b"meta", b"names", b"order", b"inodes", b"ranges", b"grafts", b"sums")
"""Names of the tables, by their numbers."""

FIRST_NEW_INODE = (1 << 48) + 1
"""A version has fewer than 2**48 entries (`manifest.rules`): its inodes lie below."""

_NUMBER = struct.Struct(">Q")
_NAME = struct.Struct(">QQQB")
_RANGE = struct.Struct(">QIQ")


class TableChange(NamedTuple):
    """One write to a table; `value` None removes the key."""

    table: int
    key: bytes
    value: bytes | None


OVER, SEVERAL = 1, 2
"""Flags of a name. OVER: the last commit, or the version, may have something of this name here, so that its end has to
be committed too. SEVERAL: it is, or was, one of several names of its inode."""


class Name(NamedTuple):
    """What a name in a directory stands for: an inode, or 0, nothing (a whiteout).

    `sequence` is that of the change that made it so, `cookie` its place in ORDER; 0: it has none, and is listed where
    the lower layer lists the same inode under this name.
    """

    inode: int
    sequence: int
    cookie: int
    flags: int

    @property
    def over(self) -> bool:
        """Whether OVER is set."""
        return bool(self.flags & OVER)

    def encode(self) -> bytes:
        """Write the value of NAMES."""
        return _NAME.pack(*self)

    @classmethod
    def decode(cls, value: bytes) -> Name:
        """Read it."""
        return cls(*_NAME.unpack(value))


class InodeRecord(msgspec.Struct, frozen=True, array_like=True):
    """An inode that differs from the version, or that no version has.

    `sequence` is that of the last change to what a version holds, `content` that of the last change to a file's bytes.
    `mode` holds permission bits; `own_mode`: they were set here, and are not what the mount shows of its version.
    `entry` is what a version has of it, encoded, and of a file's bytes the first `shown` still show where no range lies
    over them. `parent`, `name`: where it is linked; `parent` 0: nowhere any more; None: where its version has it.
    `layers` are its data files, oldest first: the generation of each, and how many of its bytes may show at most (see
    `layers`). `uid`, `gid`: None, the mount's. `atime_ns` 0: as `mtime_ns`; None: 0.

    `links` 0: it has one name, `parent` and `name`, or none; else so many, each in NAMES and marked SEVERAL, and
    `parent` and `name` were one of them. `special`: S_IFIFO or S_IFSOCK, of a pipe or a socket, which no version holds;
    `kind` says nothing then. `timed`: sequence of the change in which somebody set `mtime_ns`.
    """

    kind: Kind
    mode: int
    sequence: int = 0
    content: int = 0
    size: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    entry: bytes = b""
    shown: int = 0
    parent: int | None = None
    name: bytes = b""
    target: bytes = b""
    metadata: Metadata = b""
    layers: tuple[tuple[int, int], ...] = ()
    uid: int | None = None
    gid: int | None = None
    atime_ns: int | None = 0
    links: int = 0
    special: int = 0
    own_mode: bool = False
    timed: int = 0

    @property
    def is_file(self) -> bool:
        """Whether it has content of its own."""
        return self.kind <= Kind.EXECUTABLE and not self.special

    @property
    def executable(self) -> bool:
        """Whether a version would call the file executable: its owner may run it."""
        return bool(self.mode & stat.S_IXUSR)

    @property
    def kept_metadata(self) -> Metadata:
        """The metadata that a version keeps: with those of the permission bits that it does."""
        return with_mode(self.metadata, kept_mode(self.kind, self.mode)) if self.own_mode else self.metadata

    def encode(self) -> bytes:
        """Write the value of INODES."""
        return _encoder.encode(self)

    @classmethod
    def decode(cls, value: bytes) -> InodeRecord:
        """Read it; msgspec.DecodeError when something else wrote it."""
        return _records.decode(value)


_encoder = msgspec.msgpack.Encoder(enc_hook=tuple)  # of tables of extents and pages, which leaves have
_records = msgspec.msgpack.Decoder(InodeRecord)
_entries = msgspec.msgpack.Decoder(TreeEntry)
_refs = msgspec.msgpack.Decoder(NodeRef)


def encode_entry(entry: TreeEntry) -> bytes:
    """Write an entry of a version, for this machine only."""
    return _encoder.encode(entry)


def decode_entry(value: bytes) -> TreeEntry:
    """Read it."""
    return _entries.decode(value)


def encode_ref(ref: NodeRef) -> bytes:
    """Write the value of GRAFTS."""
    return _encoder.encode(ref)


def decode_ref(value: bytes) -> NodeRef:
    """Read it."""
    return _refs.decode(value)


def inode_key(inode: int) -> bytes:
    """Return the key of INODES and GRAFTS, and what keys of NAMES, ORDER and RANGES begin with."""
    return _NUMBER.pack(inode)


def name_key(parent: int, name: bytes) -> bytes:
    """Return the key of NAMES."""
    return _NUMBER.pack(parent) + name


def order_key(parent: int, cookie: int) -> bytes:
    """Return the key of ORDER."""
    return _NUMBER.pack(parent) + _NUMBER.pack(cookie)


def range_key(inode: int, generation: int, start: int) -> bytes:
    """Return the key of RANGES."""
    return _RANGE.pack(inode, generation, start)


def sum_key(inode: int, generation: int, block: int) -> bytes:
    """Return the key of SUMS: as one of RANGES, with the number of a block for the start."""
    return _RANGE.pack(inode, generation, block)
