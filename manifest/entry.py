"""What a manifest holds: entries, where their bytes lie, references to nodes. Immutable values.

Names are bytes, as the kernel has them: any byte but ``/`` and NUL, 1 to 255 of them, never ``.`` or ``..``.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from penstock.errors import UsageError

__all__ = [
    "BLOCK_SIZE",
    "INLINE_BLOCKS",
    "INLINE_METADATA",
    "MAX_DEPTH",
    "MAX_METADATA",
    "MAX_MTIME",
    "MAX_NAME",
    "MAX_SIZE",
    "MAX_TARGET",
    "PAGE_BLOCKS",
    "DocumentRef",
    "Extent",
    "Extents",
    "External",
    "Kind",
    "Location",
    "Metadata",
    "NodeRef",
    "PageRef",
    "Pages",
    "TreeEntry",
    "block_count",
    "check_name",
    "display_path",
    "name_problem",
    "split_path",
]

BLOCK_SIZE = 1 << 20
"""Bytes in a block. Part of the format: the hash of a file larger than this depends on it."""
PAGE_BLOCKS = 1024
"""Block hashes in one page of a large file's block list. Part of the format."""
INLINE_BLOCKS = 32
"""Up to so many block hashes stand in the leaf itself; more are written as pages of their own."""
MAX_NAME = 255
MAX_TARGET = 4095
MAX_DEPTH = 2048
MAX_METADATA = 1 << 20
"""Bytes of metadata of an entry or a version."""
INLINE_METADATA = 64 << 10
"""Up to so many stand in the leaf, or in the manifest record, itself; more are a document of their own."""
MAX_SIZE = (1 << 63) - 1
MAX_MTIME = (1 << 64) - 1
"""Nanoseconds since 1970: in the year 2554."""


class Kind(enum.IntEnum):
    """What an entry is, as one byte in the format."""

    FILE = 0
    EXECUTABLE = 1
    DIRECTORY = 2
    SYMLINK = 3


class External(msgspec.Struct, frozen=True):
    """An object outside the dataset's own data, left where it lies: any URI, pinned by version or ETag.

    `size`: bytes of the whole object, where nobody has read it and what the store says of it is all that is known.
    What is read of such an object is held against no hash.
    """

    uri: str
    version_id: str | None = None
    etag: str | None = None
    size: int | None = None


class Extent(msgspec.Struct, frozen=True):
    """`length` bytes at `offset` of an object: 32 bytes name one of the bucket's data objects by its hash."""

    object: bytes | External
    offset: int
    length: int


class Location(msgspec.Struct, frozen=True, gc=False):
    """Where a frame lies: node pack (its hash), offset and length in bytes, and the frame's own BLAKE3.

    While a tree is being built the pack has no hash yet; a `NodeSink` gives a shorter stand-in and resolves it.
    """

    pack: bytes
    offset: int
    length: int
    digest: bytes


class NodeRef(msgspec.Struct, frozen=True):
    """A node as its parent sees it: the hash of what it says, what lies below it, where it is.

    `entries` counts all entries below, at any depth; `size` sums the bytes of the files among them.
    """

    hash: bytes
    entries: int
    size: int
    location: Location

    @property
    def identity(self) -> tuple[bytes, bytes, int, int]:
        """All that a decoded node was held against: what a table of nodes must be keyed by.

        By the frame's digest alone, a reference that promises another hash would be given a node that breaks it.
        """
        return self.location.digest, self.hash, self.entries, self.size


class PageRef(msgspec.Struct, frozen=True):
    """One page of a large file's block list: the hash of the page and where it is."""

    hash: bytes
    location: Location


class DocumentRef(msgspec.Struct, frozen=True, eq=False):
    """Metadata of more than INLINE_METADATA bytes: the hash of its canonical JSON, its size, and where it is.

    Two are equal when they say the same, wherever it lies: comparing metadata fetches none.
    """

    hash: bytes
    size: int
    location: Location

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DocumentRef) and (self.hash, self.size) == (other.hash, other.size)

    def __hash__(self) -> int:
        return hash((self.hash, self.size))


Metadata = bytes | DocumentRef
"""Canonical JSON, or empty; or, of much of it, what stands for it. A tree's writer turns the first into the second."""


if TYPE_CHECKING:
    Extents = Sequence[Extent]
    Pages = Sequence[PageRef]
else:  # what an entry that was written down is read back with; those of a leaf are tables
    Extents = tuple[Extent, ...]
    Pages = tuple[PageRef, ...]


class TreeEntry(msgspec.Struct, frozen=True):
    """One name in a directory.

    `size`: bytes of a file, of a symlink's target, of all files below a directory. `hash`: see `hashing`; of a
    directory, its node's; of an entry that `is_identity`, see `identity`. `mtime_ns`: nanoseconds since 1970; None:
    nothing is known. `metadata`: canonical JSON, or empty, or a document. `extents` cover a file's bytes in order.
    `blocks`: the 32-byte hashes of a file's blocks, joined, when there are 2 to INLINE_BLOCKS of them; for more,
    `pages`. `directory` is set for directories only.
    """

    name: bytes
    kind: Kind
    size: int = 0
    hash: bytes = b""
    mtime_ns: int | None = None
    metadata: Metadata = b""
    target: bytes = b""
    extents: Extents = ()
    blocks: bytes = b""
    pages: Pages = ()
    directory: NodeRef | None = None

    @property
    def is_file(self) -> bool:
        """Whether it has content of its own: a regular file, executable or not."""
        return self.kind <= Kind.EXECUTABLE

    @property
    def is_identity(self) -> bool:
        """Whether `hash` is one of what the store says of an object, and not of content."""
        if len(self.extents) != 1:
            return False
        found = self.extents[0].object
        return isinstance(found, External) and found.size is not None

    @property
    def shown_hash(self) -> str:
        """The hash as text, marked where it is not one of content."""
        return f"identity:{self.hash.hex()}" if self.is_identity else self.hash.hex()

    @property
    def entries(self) -> int:
        """How many entries lie below: 0 for anything but a directory."""
        return self.directory.entries if self.directory is not None else 0


def block_count(size: int) -> int:
    """How many blocks a file of `size` bytes has; an empty one has none."""
    return (size + BLOCK_SIZE - 1) // BLOCK_SIZE


def name_problem(name: bytes) -> str:
    """Say what is wrong with a name; the empty string when nothing is."""
    if not name:
        return "a name is empty"
    if len(name) > MAX_NAME:
        return f"a name has {len(name)} bytes, the most is {MAX_NAME}"
    if name in (b".", b".."):
        return f"{name.decode()!r} is no name for an entry"
    if b"/" in name:
        return "a name holds a slash"
    if b"\0" in name:
        return "a name holds a NUL byte"
    return ""


_is_name = re.compile(rb"[^./\0][^/\0]{0,254}").fullmatch  # most names: one call where asking for each fault is six


def check_name(name: bytes) -> bytes:
    """Return the name; UsageError when it cannot be one."""
    if not _is_name(name) and (problem := name_problem(name)):
        raise UsageError(f"bad name {name[:300]!r}", why=problem, fix="Rename it.")
    return name


def split_path(path: str | bytes) -> tuple[bytes, ...]:
    """Cut a logical path at its slashes and check each name; the root is the empty tuple.

    Leading, trailing and doubled slashes are not part of a name and fall away.
    """
    raw = path if isinstance(path, bytes) else path.encode("utf-8", "surrogateescape")
    names = tuple(check_name(name) for name in raw.split(b"/") if name)
    if len(names) > MAX_DEPTH:
        raise UsageError(f"a path of {len(names)} levels", why=f"the deepest is {MAX_DEPTH}")
    return names


def display_path(names: Iterable[bytes]) -> str:
    """Join names to the text that stands for them; bytes that are not UTF-8 become surrogate escapes."""
    return b"/".join(names).decode("utf-8", "surrogateescape")
