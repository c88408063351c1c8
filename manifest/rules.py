"""The rules that a decoded node keeps, beyond its shape: docs/FORMAT.md, word for word.

**Invariant:** what passes here can be read by ``node`` and ``tree`` without an index out of range, and every number
in it is small enough to add up.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import NoReturn

import msgspec

from penstock.errors import IntegrityError

from .entry import (
    INLINE_BLOCKS,
    INLINE_METADATA,
    MAX_METADATA,
    MAX_MTIME,
    MAX_NAME,
    MAX_SIZE,
    MAX_TARGET,
    PAGE_BLOCKS,
    DocumentRef,
    External,
    Kind,
    Location,
    block_count,
)
from .frame import MAX_FRAME
from .hashing import HASH_SIZE, content_hash, file_hash, hash_of_blocks
from .identity import hash_of_identity, identity_problem
from .metadata import parse_metadata
from .node import (
    DocumentedLogical,
    DocumentedPhysical,
    IdentifiedLogical,
    IdentifiedPhysical,
    IndexLogical,
    IndexPhysical,
    LeafLogical,
    LeafPhysical,
    LeafTables,
    Packed,
)
from .split import MAX_LEAF_WEIGHT
from .tables import ExtentTable, PageTable, count_rows, extent_rows, page_rows

__all__ = ["COUNT_LIMIT", "FREE_EXTENTS", "MAX_EXTENTS", "MAX_LEVEL", "MAX_LOGICAL", "bad", "check_index", "check_leaf"]

MAX_LEVEL = 8
"""Index nodes above each other in one directory."""
COUNT_LIMIT = 1 << 48
"""Entries below a directory: fewer than this. An inode number then fits wherever 64 bits do."""
MAX_LOGICAL = 2 * MAX_LEAF_WEIGHT
"""Bytes of a logical part. A leaf ends with the entry by which its weight reaches half of that, and what an entry adds
to the logical part beyond its name, metadata and target is less than the 64 that it weighs besides."""
MAX_EXTENTS = 1 << 21
"""Extents in a leaf. Each of a file in blocks takes 8 bytes, so that this is what a node's content has room for."""
FREE_EXTENTS = 4096
"""So many extents a file may have that is shorter than as many blocks."""
_NOTHING = content_hash(b"")


def bad(what: str) -> NoReturn:
    """Refuse a node."""
    raise IntegrityError(what, fix="Restore the object from a copy of the bucket.")


def check_leaf(logical: LeafLogical, physical: LeafPhysical, own_pack: bytes, *, timed: bool = False) -> LeafTables:
    """Hold a leaf against the rules; return what `pieces` and `pages` hold. msgspec.DecodeError: they are none.

    `timed`: it is a leaf with times that others have no room for.
    """
    names = logical.names
    count = len(names)
    kinds = logical.kinds
    files = kinds.count(Kind.FILE) + kinds.count(Kind.EXECUTABLE)
    directories = kinds.count(Kind.DIRECTORY)
    symlinks = kinds.count(Kind.SYMLINK)
    if files + directories + symlinks != len(kinds):
        bad("a leaf holds an entry of an unknown kind")
    lengths = (len(kinds), len(logical.sizes), len(logical.hashes) // HASH_SIZE, len(physical.mtimes))
    if any(length != count for length in lengths) or len(logical.hashes) % HASH_SIZE:
        bad("a leaf's columns differ in length")
    if len(logical.below) != directories or len(physical.directories) != directories:
        bad("a leaf's directories do not add up")
    if len(physical.file_objects) != files or len(physical.file_offsets) != files:
        bad("a leaf's files do not add up")
    _check_names(names)
    _check_sums(logical.below, logical.sizes, least=0, more=count)
    _check_packs(physical.packs, physical.directories)
    _check_symlinks(logical, symlinks)
    most = MAX_MTIME if timed else MAX_SIZE
    if any(not timed if mtime is None else not -MAX_SIZE <= mtime <= most for mtime in physical.mtimes):
        bad("a modification time is out of bounds")
    _check_metadata(logical, count)
    documents = _check_documents(logical, physical, own_pack)
    _check_objects(physical)
    identities = _check_identities(logical, count)
    return LeafTables(*_check_files(logical, physical, own_pack, identities), documents, identities)


def check_index(logical: IndexLogical, physical: IndexPhysical) -> None:
    """Hold an index node against the rules."""
    count = len(logical.lasts)
    lengths = (len(logical.hashes) // HASH_SIZE, len(logical.entries), len(logical.sizes), len(physical.children))
    if any(length != count for length in lengths) or len(logical.hashes) % HASH_SIZE:
        bad("an index node's columns differ in length")
    if not 1 <= logical.level <= MAX_LEVEL:
        bad("an index node's level is out of bounds")
    _check_names(logical.lasts)
    _check_sums(logical.entries, logical.sizes, least=1, more=0)
    _check_packs(physical.packs, physical.children)


def _check_names(names: list[bytes]) -> None:
    if not all(map(operator.lt, names, names[1:])):
        bad("a node's names are not in order")
    joined = b"\0".join(names)
    if joined.count(b"\0") != max(len(names) - 1, 0) or b"/" in joined:
        bad("a node holds a name with a slash or a NUL byte")
    if names and (not names[0] or max(map(len, names)) > MAX_NAME):
        bad("a node holds an empty name or one of more than 255 bytes")
    for special in (b".", b".."):
        if special in names:
            bad(f"a node holds the name {special.decode()!r}")


def _check_sums(counts: list[int], sizes: list[int], *, least: int, more: int) -> None:
    if counts and not (min(counts) >= least and sum(counts) + more < COUNT_LIMIT):
        bad("a node's counts are out of bounds")
    if sizes and not (min(sizes) >= 0 and sum(sizes) <= MAX_SIZE):
        bad("a node's sizes are out of bounds")


def _check_packs(packs: list[bytes], located: Sequence[Packed]) -> None:
    if any(len(pack) not in (0, HASH_SIZE) for pack in packs):
        bad("a node names a pack by something that is no hash")
    for pack, offset, length, digest in located:
        if not (0 <= pack < len(packs) and 0 <= offset <= MAX_SIZE - MAX_FRAME and 0 < length <= MAX_FRAME):
            bad("a node gives a place that cannot be")
        if len(digest) != HASH_SIZE:
            bad("a node gives a digest of the wrong length")


def _hash(logical: LeafLogical, at: int) -> bytes:
    return logical.hashes[at * HASH_SIZE : (at + 1) * HASH_SIZE]


def _check_symlinks(logical: LeafLogical, symlinks: int) -> None:
    if len(logical.targets) != symlinks:
        bad("a leaf's symlinks do not add up")
    if any(not 0 < len(target) <= MAX_TARGET or b"\0" in target for target in logical.targets):
        bad("a symlink's target is empty, too long, or holds a NUL byte")
    places = [at for at, kind in enumerate(logical.kinds) if kind == Kind.SYMLINK] if symlinks else []
    for at, target in zip(places, logical.targets, strict=True):
        if logical.sizes[at] != len(target) or _hash(logical, at) != content_hash(target):
            bad("a symlink's size or hash is not that of its target")


def _check_metadata(logical: LeafLogical, count: int) -> None:
    last = -1
    for at, body in logical.metadata:
        if not last < at < count or not 0 < len(body) <= INLINE_METADATA:
            bad("a leaf's metadata is out of order, empty or too large")
        parse_metadata(body)
        last = at


def _check_documents(logical: LeafLogical, physical: LeafPhysical, own_pack: bytes) -> dict[int, DocumentRef]:
    if not isinstance(logical, DocumentedLogical | IdentifiedLogical):
        return {}
    assert isinstance(physical, DocumentedPhysical | IdentifiedPhysical)
    if len(logical.documents) != len(physical.documents):
        bad("a leaf's documents do not add up")
    _check_packs(physical.packs, physical.documents)
    others = {at for at, _ in logical.metadata}
    found: dict[int, DocumentRef] = {}
    last = -1
    for (at, size, digest), (pack, offset, length, frame) in zip(logical.documents, physical.documents, strict=True):
        if not last < at < len(logical.names) or at in others or not INLINE_METADATA < size <= MAX_METADATA:
            bad("a leaf's documents are out of order, or of a size that they cannot have")
        if len(digest) != HASH_SIZE:
            bad("a leaf gives a document's hash of the wrong length")
        found[at] = DocumentRef(digest, size, Location(physical.packs[pack] or own_pack, offset, length, frame))
        last = at
    return found


def _check_objects(physical: LeafPhysical) -> None:
    for found in physical.objects:
        if isinstance(found, bytes):
            if len(found) != HASH_SIZE:
                bad("a leaf names an object by something that is no hash")
        elif not found[0].startswith(("s3://", "file:///")):
            bad("a leaf points to an address of an unknown kind")


def _check_identities(logical: LeafLogical, count: int) -> frozenset[int]:
    """Return which entries are pinned by identity; `_check_files` looks at what they are pinned to."""
    if not isinstance(logical, IdentifiedLogical):
        return frozenset()
    last = -1
    for at in logical.identities:
        if not last < at < count or logical.kinds[at] > Kind.EXECUTABLE or logical.sizes[at] == 0:
            bad("a leaf pins what is no file with content, or out of order, by its identity")
        last = at
    return frozenset(logical.identities)


def _check_files(
    logical: LeafLogical, physical: LeafPhysical, own_pack: bytes, identities: frozenset[int]
) -> tuple[dict[int, ExtentTable], dict[int, PageTable]]:
    pieces = dict(physical.pieces)
    blocks = dict(physical.blocks)
    pages = dict(physical.pages)
    if len(pieces) != len(physical.pieces) or len(blocks) != len(physical.blocks) or len(pages) != len(physical.pages):
        bad("a leaf lists a file twice")
    if pieces and sum(map(count_rows, pieces.values())) > MAX_EXTENTS:
        bad("a leaf holds too many extents")
    extents: dict[int, ExtentTable] = {}
    tables: dict[int, PageTable] = {}
    packs = [pack or own_pack for pack in physical.packs] if pages else []
    objects = len(physical.objects)
    rank = -1
    for at, kind in enumerate(logical.kinds):
        if kind > Kind.EXECUTABLE:
            continue
        rank += 1
        size = logical.sizes[at]
        if size == 0:
            if _hash(logical, at) != _NOTHING:
                bad("an empty file's hash is not that of no bytes")
            continue
        if at in identities:
            _check_extent(objects, physical.file_objects[rank], physical.file_offsets[rank], size)
            _check_identity(logical, at, physical.objects[physical.file_objects[rank]], physical.file_offsets[rank])
            continue
        if at in pieces:
            extents[at] = _check_pieces(size, physical, pieces.pop(at))
        else:
            _check_extent(objects, physical.file_objects[rank], physical.file_offsets[rank], size)
        if block_count(size) > 1:
            if at in blocks:
                _check_inline(logical, at, size, blocks.pop(at))
            elif at in pages:
                tables[at] = _check_pages(logical, at, size, packs, pages.pop(at))
            else:
                bad("a large file has no block hashes")
    if pieces or blocks or pages:
        bad("a leaf says more of a file than it may")
    return extents, tables


def _check_identity(
    logical: LeafLogical, at: int, found: bytes | tuple[str, str | None, str | None], offset: int
) -> None:
    if isinstance(found, bytes) or offset or identity_problem(External(*found)):
        bad("a file is pinned by the identity of something that has none")
    if hash_of_identity(logical.sizes[at], External(*found)) != _hash(logical, at):
        bad("an identity is not the one of the object that it points to")


def _check_extent(objects: int, number: int, offset: int, length: int) -> None:
    if not (0 <= number < objects and 0 <= offset <= MAX_SIZE - length and length > 0):
        bad("an extent cannot be")


def _check_pieces(size: int, physical: LeafPhysical, raw: msgspec.Raw) -> ExtentTable:
    if not 2 <= count_rows(raw) <= max(block_count(size), FREE_EXTENTS):
        bad("a file's extents do not cover it, or are too many")
    table = ExtentTable(physical.objects)
    objects = len(physical.objects)
    for rows in extent_rows(raw):
        numbers, offsets, lengths = zip(*rows, strict=True)
        inside = min(numbers) >= 0 and max(numbers) < objects and min(offsets) >= 0 and min(lengths) > 0
        if not (inside and max(map(operator.add, offsets, lengths)) <= MAX_SIZE):
            bad("an extent cannot be")
        if table.size + sum(lengths) > size:
            bad("a file's extents do not cover it, or are too many")
        table.extend(numbers, offsets, lengths)
    if table.size != size:
        bad("a file's extents do not cover it, or are too many")
    return table


def _check_inline(logical: LeafLogical, at: int, size: int, hashes: bytes) -> None:
    if len(hashes) != HASH_SIZE * block_count(size) or block_count(size) > INLINE_BLOCKS:
        bad("a file has the wrong number of block hashes")
    if hash_of_blocks(size, hashes) != _hash(logical, at):
        bad("a file's block hashes are not those of the file")


def _check_pages(logical: LeafLogical, at: int, size: int, packs: list[bytes], raw: msgspec.Raw) -> PageTable:
    wanted = (block_count(size) + PAGE_BLOCKS - 1) // PAGE_BLOCKS
    if count_rows(raw) != wanted or block_count(size) <= INLINE_BLOCKS:
        bad("a file has the wrong number of pages of block hashes")
    table = PageTable(packs)
    for rows in page_rows(raw):
        _check_packs(packs, [row[1:] for row in rows])
        table.extend(rows)
    if file_hash(size, table.hashes) != _hash(logical, at):
        bad("a file's pages of block hashes are not those of the file")
    return table
