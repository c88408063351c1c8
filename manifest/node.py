"""Decoded nodes: a leaf's entries in columns, an index node's children. Immutable once made.

A leaf keeps the columns as they are decoded and makes a `TreeEntry` when asked for one, so that holding a node costs
about 250 bytes an entry and walking past entries costs almost nothing.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, NamedTuple, TypeVar

import msgspec

from .entry import DocumentRef, Extent, Extents, External, Kind, Location, Metadata, NodeRef, TreeEntry
from .hashing import HASH_SIZE
from .split import MAX_INDEX_ITEMS, MAX_LEAF_ENTRIES
from .tables import ExtentTable, PageTable

__all__ = [
    "DocumentedLogical",
    "DocumentedPhysical",
    "IdentifiedLogical",
    "IdentifiedPhysical",
    "IndexLogical",
    "IndexNode",
    "IndexPhysical",
    "Leaf",
    "LeafLogical",
    "LeafPhysical",
    "LeafTables",
    "Node",
    "Packed",
]

Packed = tuple[int, int, int, bytes]
"""A location inside a node: index into the node's pack table, offset, length, digest."""


_T = TypeVar("_T")
_Column = Annotated[list[_T], msgspec.Meta(max_length=MAX_LEAF_ENTRIES)]
_Children = Annotated[list[_T], msgspec.Meta(min_length=1, max_length=MAX_INDEX_ITEMS)]
_Hashes = Annotated[list[_T], msgspec.Meta(max_length=1 << 19)]  # as many as a node's content has room for
# The bounds are here, and not among the rules, so that a longer list is refused before it takes memory.


class LeafLogical(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is hashed of a leaf. Columns run over all entries, or over the directories or symlinks among them."""

    names: _Column[bytes]
    kinds: bytes
    sizes: _Column[int]
    hashes: bytes
    below: _Column[int]
    targets: _Column[bytes]
    metadata: _Column[tuple[int, bytes]]


class LeafPhysical(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is not hashed of a leaf: times, and where things are. Object and offset columns run over the files.

    `pieces` and `pages` are decoded file by file, into tables (`rules`).
    """

    mtimes: _Column[int | None]
    objects: _Hashes[bytes | tuple[str, str | None, str | None]]
    file_objects: _Column[int]
    file_offsets: _Column[int]
    pieces: _Column[tuple[int, msgspec.Raw]]
    blocks: _Column[tuple[int, bytes]]
    pages: _Column[tuple[int, msgspec.Raw]]
    packs: _Hashes[bytes]
    directories: _Column[Packed]


class DocumentedLogical(LeafLogical, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is hashed of a leaf with documents: the same, and of each of those the entry, the size, the hash."""

    documents: Annotated[list[tuple[int, int, bytes]], msgspec.Meta(min_length=1, max_length=MAX_LEAF_ENTRIES)]


class DocumentedPhysical(LeafPhysical, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is not hashed of a leaf with documents: the same, and where these are."""

    documents: _Column[Packed]


class IdentifiedLogical(LeafLogical, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is hashed of a leaf with entries pinned by identity: documents, if any, and the indexes of those entries."""

    documents: _Column[tuple[int, int, bytes]]
    identities: Annotated[list[int], msgspec.Meta(min_length=1, max_length=MAX_LEAF_ENTRIES)]


class IdentifiedPhysical(LeafPhysical, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is not hashed of a leaf with entries pinned by identity: the same as of one with documents."""

    documents: _Column[Packed]


class IndexLogical(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is hashed of an index node. All columns run over its children."""

    level: int
    lasts: _Children[bytes]
    hashes: bytes
    entries: _Children[int]
    sizes: _Children[int]


class IndexPhysical(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is not hashed of an index node: where its children lie."""

    packs: Annotated[list[bytes], msgspec.Meta(max_length=MAX_INDEX_ITEMS)]
    children: _Children[Packed]


class LeafTables(NamedTuple):
    """What a leaf has of files in several extents, of those with pages of hashes, and of entries with a document.

    Each by the index of the entry; `identities` are those of the files that are pinned by identity.
    """

    extents: dict[int, ExtentTable]
    pages: dict[int, PageTable]
    documents: dict[int, DocumentRef]
    identities: frozenset[int] = frozenset()


_KINDS = tuple(Kind)  # a look-up by number costs a tenth of calling the enum


class Leaf:
    """A slice of a directory, or all of it: consecutive entries in byte order of their names."""

    level = 0

    def __init__(
        self,
        logical: LeafLogical,
        physical: LeafPhysical,
        tables: LeafTables,
        own_pack: bytes,
        weight: int,
        *,
        timed: bool = False,
    ) -> None:
        """Of a `timed` leaf, a modification time of 0 is one."""
        self._logical = logical
        self._physical = physical
        self._tables = tables
        self._own_pack = own_pack
        self._timed = timed
        self.names = logical.names
        self.weight = weight
        """Bytes that it takes in memory, about."""

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _ranks(self) -> tuple[list[int], list[int], list[int]]:
        """For each entry, how many files, directories and symlinks come before it in this leaf."""
        kinds = self._logical.kinds
        return (
            list(itertools.accumulate((kind <= Kind.EXECUTABLE for kind in kinds), initial=0)),
            list(itertools.accumulate((kind == Kind.DIRECTORY for kind in kinds), initial=0)),
            list(itertools.accumulate((kind == Kind.SYMLINK for kind in kinds), initial=0)),
        )

    @cached_property
    def positions(self) -> list[int]:
        """For each entry, its position among all entries below the directory that start in this slice; then the sum."""
        below = self._logical.below
        if not below:
            return list(range(len(self.names) + 1))
        counts = iter(below)
        return list(
            itertools.accumulate(
                (1 + next(counts) if kind == Kind.DIRECTORY else 1 for kind in self._logical.kinds), initial=0
            )
        )

    @property
    def entries(self) -> int:
        """All entries at and below this slice."""
        return len(self.names) + sum(self._logical.below)

    @property
    def size(self) -> int:
        """Bytes of all files at and below this slice."""
        return sum(
            size for size, kind in zip(self._logical.sizes, self._logical.kinds, strict=True) if kind != Kind.SYMLINK
        )

    @property
    def holds_files_only(self) -> bool:
        """Whether no entry of it is a directory or a symlink."""
        return max(self._logical.kinds, default=0) <= Kind.EXECUTABLE

    def find(self, name: bytes) -> int:
        """Return the index of the entry with this name, or -1."""
        at = bisect_left(self.names, name)
        return at if at < len(self.names) and self.names[at] == name else -1

    def at_position(self, position: int) -> tuple[int, int]:
        """Return the entry that holds a position, and how far below the entry itself it lies (0: the entry)."""
        at = bisect_right(self.positions, position) - 1
        return at, position - self.positions[at]

    def kind(self, at: int) -> Kind:
        """Return the kind of an entry without making the entry."""
        return _KINDS[self._logical.kinds[at]]

    @property
    def objects(self) -> list[bytes | External]:
        """The objects that the files of this leaf lie in, each once: data objects by their hash, or others."""
        return [self._object(at) for at in range(len(self._physical.objects))]

    @property
    def packs(self) -> list[bytes]:
        """The node packs that hold its directories and pages of block hashes, each once."""
        return [pack or self._own_pack for pack in self._physical.packs]

    def directories(self) -> Iterator[tuple[bytes, NodeRef]]:
        """Yield the name and the content of each directory in this leaf, in order."""
        if self._logical.below:
            for at, name in enumerate(self.names):
                ref = self.directory(at)
                if ref is not None:
                    yield name, ref

    def _location(self, pack: int, offset: int, length: int, digest: bytes) -> Location:
        return Location(self._physical.packs[pack] or self._own_pack, offset, length, digest)

    def _object(self, at: int) -> bytes | External:
        found = self._physical.objects[at]
        return found if isinstance(found, bytes) else External(*found)

    @cached_property
    def _sparse(self) -> tuple[dict[int, Metadata], dict[int, bytes]]:
        """Metadata and block hashes of those entries that have some."""
        metadata: dict[int, Metadata] = dict(self._logical.metadata)
        return metadata | self._tables.documents, dict(self._physical.blocks)

    @cached_property
    def _refs(self) -> dict[int, NodeRef]:
        return {}

    def directory(self, at: int) -> NodeRef | None:
        """Return the content of an entry that is a directory without making the entry; None when it is none."""
        if self._logical.kinds[at] != Kind.DIRECTORY:
            return None
        ref = self._refs.get(at)
        if ref is None:
            rank = self._ranks[1][at]
            where = self._location(*self._physical.directories[rank])
            ref = NodeRef(self.hash(at), self._logical.below[rank], self._logical.sizes[at], where)
            self._refs[at] = ref
        return ref

    def hash(self, at: int) -> bytes:
        """Return the hash of an entry without making the entry."""
        return self._logical.hashes[at * HASH_SIZE : (at + 1) * HASH_SIZE]

    def metadata(self, at: int) -> Metadata:
        """Return the metadata of an entry without making the entry."""
        return self._sparse[0].get(at, b"")

    def content(self, at: int) -> tuple[int, int, bytes, Metadata]:
        """Return kind, size, hash and metadata of an entry without making the entry: what a comparison looks at."""
        logical = self._logical
        return logical.kinds[at], logical.sizes[at], self.hash(at), self._sparse[0].get(at, b"")

    def facts(self) -> Iterator[tuple[bytes, int, int, bytes]]:
        """Yield name, kind, size and hash of each entry without making it."""
        hashes = self._logical.hashes
        digests = (hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE))
        return zip(self.names, self._logical.kinds, self._logical.sizes, digests, strict=True)

    def count_alike(self, at: int, other: Leaf, there: int) -> int:
        """Count entries from `at` on that have the name and the content of those in another leaf from `there` on."""
        most = min(len(self.names) - at, len(other.names) - there)
        for step in range(most):
            if self.names[at + step] != other.names[there + step] or self.content(at + step) != other.content(
                there + step
            ):
                return step
        return most

    def entry(self, at: int) -> TreeEntry:
        """Make the entry at an index."""
        logical = self._logical
        physical = self._physical
        kind = _KINDS[logical.kinds[at]]
        size = logical.sizes[at]
        metadata, blocks = self._sparse
        files, _, symlinks = self._ranks
        digest = logical.hashes[at * HASH_SIZE : (at + 1) * HASH_SIZE]
        mtime = physical.mtimes[at]
        if mtime == 0 and not self._timed:
            mtime = None
        common = (self.names[at], kind, size, digest, mtime, metadata.get(at, b""))
        if kind is Kind.DIRECTORY:
            return TreeEntry(*common, directory=self.directory(at))
        if kind is Kind.SYMLINK:
            return TreeEntry(*common, target=logical.targets[symlinks[at]])
        if size == 0:
            return TreeEntry(*common)
        extents: Extents | None = self._tables.extents.get(at)
        if extents is None:
            rank = files[at]
            found = self._object(physical.file_objects[rank])
            if at in self._tables.identities and isinstance(found, External):
                found = External(found.uri, found.version_id, found.etag, size)
            extents = (Extent(found, physical.file_offsets[rank], size),)
        return TreeEntry(*common, extents=extents, blocks=blocks.get(at, b""), pages=self._tables.pages.get(at, ()))


class IndexNode:
    """The nodes that one level of a large directory is cut into; `lasts` holds the last name below each."""

    def __init__(self, level: int, lasts: list[bytes], children: list[NodeRef], weight: int) -> None:
        self.level = level
        self.lasts = lasts
        self.children = children
        self.weight = weight
        """Bytes that it takes in memory, about."""

    @property
    def names(self) -> list[bytes]:
        """Names in order of which the last is the last below; the first may not be the first."""
        return self.lasts

    def __len__(self) -> int:
        return len(self.children)

    @cached_property
    def positions(self) -> list[int]:
        """For each child, how many entries come before it in this node; then the sum."""
        return list(itertools.accumulate((child.entries for child in self.children), initial=0))

    @property
    def entries(self) -> int:
        """All entries below."""
        return self.positions[-1]

    @property
    def size(self) -> int:
        """Bytes of all files below."""
        return sum(child.size for child in self.children)

    def child_for(self, name: bytes) -> int:
        """Return the index of the child that would hold a name; `len(self)` when it sorts after all."""
        return bisect_left(self.lasts, name)

    def at_position(self, position: int) -> tuple[int, int]:
        """Return the child that holds a position, and the position within it."""
        at = bisect_right(self.positions, position) - 1
        return at, position - self.positions[at]


Node = Leaf | IndexNode
