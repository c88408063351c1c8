"""Requests and answers as the kernel lays them out (linux/fuse.h, protocol 7): bytes and values, no I/O.

A request is a header, then what its opcode has; an answer is a header, then what the request's opcode wants. Numbers
are in the machine's own order, structures as a C compiler pads them. Only what a read-only file system needs is here.

Pure. Used by `answers` and `requests`.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from .attributes import Attributes, FileSystemSize

__all__ = [
    "ABSENT",
    "BACKGROUND",
    "REQUEST",
    "REQUEST_BUFFER",
    "Opcode",
    "Owner",
    "attributes_answer",
    "entry_answer",
    "greeting_answer",
    "listed",
    "opendir_answer",
    "read_request",
    "reply_header",
    "statfs_answer",
    "wanted_xattr",
    "with_background",
    "xattr_size_answer",
]

_MOST_BYTES = 1 << 20
"""Bytes that one READ may ask for."""
_PAGE = 4096
REQUEST_BUFFER = _MOST_BYTES + _PAGE
"""Bytes that a buffer for requests must have: the kernel refuses to fill a smaller one, whatever the request."""

REQUEST = struct.Struct("=IIQQIIIHH")
"""fuse_in_header: length, opcode, unique, inode, uid, gid, pid, length of extensions, padding."""
_REPLY = struct.Struct("=IiQ")
"""fuse_out_header: length, errno below zero or 0, unique of the request."""
_INIT_REQUEST = struct.Struct("=IIII")
"""The beginning of fuse_init_in: major, minor, max_readahead, flags."""
_INIT = struct.Struct("=IIIIHHIIHHIIH11H")
"""fuse_init_out: major, minor, max_readahead, flags, max_background, congestion_threshold, max_write, time_gran,
max_pages, map_alignment, flags2, max_stack_depth, request_timeout, unused."""
_LIMITS = _REPLY.size + 16
_TWO = struct.Struct("=HH")
"""max_background and congestion_threshold of an answer to INIT, and where they begin."""
_READ = struct.Struct("=QQI")
"""The beginning of fuse_read_in: handle, offset, size."""
_ATTRIBUTES = "6Q10I"
"""fuse_attr: ino, size, blocks, three times in seconds; their ns, mode, nlink, uid, gid, rdev, blksize, flags."""
_ENTRY = struct.Struct("=QQQQII" + _ATTRIBUTES)
"""fuse_entry_out: inode, generation, seconds for which name and attributes hold, their nanoseconds; fuse_attr."""
_GETATTR = struct.Struct("=QII" + _ATTRIBUTES)
"""fuse_attr_out: seconds for which they hold, nanoseconds, padding; fuse_attr."""
_OPEN = struct.Struct("=QIi")
"""fuse_open_out: handle, flags, padding."""
_STATFS = struct.Struct("=5Q4I24x")
"""fuse_kstatfs: blocks, bfree, bavail, files, ffree, bsize, namelen, frsize."""
_XATTR = struct.Struct("=II")
"""fuse_getxattr_in and fuse_getxattr_out: size, padding."""
_DIRENT = struct.Struct("=QQII")
"""fuse_dirent: inode, offset of what follows, length of the name, type; the name, filled up to a multiple of 8."""

_FOR_EVER = 10 * 365 * 86400
"""Seconds for which names and attributes hold, and that a name is not there: a version never changes."""
_BLOCK = 1 << 20
_MOST_NAME = 255
_UNSIGNED = (1 << 64) - 1
_SECOND = 1_000_000_000

_ASYNC_READ = 1 << 0
_EXPORT_SUPPORT = 1 << 4
_DO_READDIRPLUS = 1 << 13
_PARALLEL_DIROPS = 1 << 18
_MAX_PAGES = 1 << 22
_CACHE_SYMLINKS = 1 << 23
_FEATURES = _ASYNC_READ | _EXPORT_SUPPORT | _DO_READDIRPLUS | _PARALLEL_DIROPS | _MAX_PAGES | _CACHE_SYMLINKS
BACKGROUND = 256
"""Requests that the kernel sends in the background. Measured with 20 ms of latency: 32 readers of small files do
0.4k files/s with the 12 that it has by itself, 1.1k with 256."""
_CONGESTED = BACKGROUND * 3 // 4


class Opcode(IntEnum):
    """What the kernel asks for: what is answered with more than ENOSYS, or not at all."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    READLINK = 5
    READ = 15
    STATFS = 17
    GETXATTR = 22
    LISTXATTR = 23
    INIT = 26
    OPENDIR = 27
    RELEASEDIR = 29
    INTERRUPT = 36
    BATCH_FORGET = 42
    READDIRPLUS = 44


class Owner(NamedTuple):
    """Whose all files are."""

    uid: int
    gid: int


def reply_header(unique: int, length: int, error: int = 0) -> bytes:
    """Return what goes before `length` bytes of answer; `error` is an errno, and nothing follows it."""
    return _REPLY.pack(_REPLY.size + length, -error, unique)


def greeting_answer(greeting: bytes) -> bytes:
    """Return the answer to an INIT request, header and all: what the kernel may do, of what it says it can."""
    _, opcode, unique, *_ = REQUEST.unpack_from(greeting)
    assert opcode == Opcode.INIT
    major, minor, ahead, offered = _INIT_REQUEST.unpack_from(greeting, REQUEST.size)
    body = _INIT.pack(
        major, minor, ahead, offered & _FEATURES, BACKGROUND, _CONGESTED, _MOST_BYTES, 1,
        _MOST_BYTES // _PAGE, 0, 0, 0, 0, *[0] * 11,
    )  # fmt: skip
    return reply_header(unique, len(body)) + body


def with_background(answer: bytes) -> bytes:
    """Return somebody else's answer to INIT with as many requests in the background as `greeting_answer` has."""
    return answer[:_LIMITS] + _TWO.pack(BACKGROUND, _CONGESTED) + answer[_LIMITS + _TWO.size :]


def read_request(body: bytes | memoryview) -> tuple[int, int, int]:
    """Return the handle, the offset and the most bytes of a READ or READDIRPLUS."""
    handle, offset, size = _READ.unpack_from(body)
    return handle, offset, size


def wanted_xattr(body: bytes | memoryview) -> tuple[int, bytes]:
    """Return the most bytes of a GETXATTR or LISTXATTR (0: only the size is wanted), and the name asked for."""
    size, _ = _XATTR.unpack_from(body)
    return size, bytes(body[_XATTR.size :]).rstrip(b"\0")


def _fields(found: Attributes, owner: Owner) -> tuple[int, ...]:
    seconds, nanoseconds = divmod(found.mtime_ns, _SECOND)
    seconds &= _UNSIGNED
    return (
        found.inode, found.size, found.blocks, seconds, seconds, seconds, nanoseconds, nanoseconds, nanoseconds,
        found.mode, 1, owner.uid, owner.gid, 0, _BLOCK, 0,
    )  # fmt: skip


def entry_answer(found: Attributes, owner: Owner) -> bytes:
    """Return what LOOKUP answers."""
    return _ENTRY.pack(found.inode, 0, _FOR_EVER, _FOR_EVER, 0, 0, *_fields(found, owner))


ABSENT = _ENTRY.pack(0, 0, _FOR_EVER, 0, 0, 0, *[0] * 16)
"""What LOOKUP answers for a name that is not there: inode 0, and the kernel need not ask again."""


def attributes_answer(found: Attributes, owner: Owner) -> bytes:
    """Return what GETATTR answers."""
    return _GETATTR.pack(_FOR_EVER, 0, 0, *_fields(found, owner))


def opendir_answer(handle: int) -> bytes:
    """Return what OPENDIR answers."""
    return _OPEN.pack(handle, 0, 0)


def listed(name: bytes, found: Attributes, owner: Owner, following: int) -> bytes:
    """Return one name of what READDIRPLUS answers; `following` is the offset to go on from."""
    head = _DIRENT.pack(found.inode, following, len(name), found.mode >> 12)
    return entry_answer(found, owner) + head + name + bytes(-len(name) % 8)


def statfs_answer(size: FileSystemSize) -> bytes:
    """Return what STATFS answers: nothing is free."""
    return _STATFS.pack(size.blocks, 0, 0, size.files, 0, size.unit, _MOST_NAME, size.unit, 0)


def xattr_size_answer(size: int) -> bytes:
    """Return what GETXATTR and LISTXATTR answer to one who wants to know how long the answer would be."""
    return _XATTR.pack(size, 0)
