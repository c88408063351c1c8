"""Nodes to frames and back. Decoding trusts nothing: whatever comes out satisfies every rule of docs/FORMAT.md.

A frame's content is a msgpack array of two byte strings: the logical part, whose hash is the node's, and the
physical part. Both are msgpack arrays themselves, written in the shortest form.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

import msgspec

from penstock.errors import IntegrityError

from .entry import (
    INLINE_BLOCKS,
    MAX_METADATA,
    MAX_NAME,
    MAX_SIZE,
    MAX_TARGET,
    PAGE_BLOCKS,
    Entry,
    Extent,
    Kind,
    Location,
    NodeRef,
    block_count,
)
from .frame import FRAME_INDEX, FRAME_LEAF, FRAME_PAGE, MAX_FRAME, decode_frame, encode_frame
from .hashing import HASH_SIZE, content_hash, file_hash, hash_of_blocks, index_hash, leaf_hash, page_hash
from .node import IndexNode, Leaf, LeafLogical, LeafPhysical, Node, Packed

__all__ = ["decode_node", "decode_page", "encode_index", "encode_leaf", "encode_page"]

Resolve = Callable[[bytes], bytes]
"""Turns the stand-in for a pack into its hash, or into b"" when it is the pack that is being written."""

_T = TypeVar("_T")
_encode = msgspec.msgpack.Encoder().encode
_MAX_LEVEL = 8
_COUNT_LIMIT = 1 << 48


class _Content(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    logical: bytes
    physical: bytes


class _IndexLogical(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    level: int
    lasts: list[bytes]
    hashes: bytes
    entries: list[int]
    sizes: list[int]


class _IndexPhysical(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    packs: list[bytes]
    children: list[Packed]


_content_decoder = msgspec.msgpack.Decoder(_Content)
_leaf_logical = msgspec.msgpack.Decoder(LeafLogical)
_leaf_physical = msgspec.msgpack.Decoder(LeafPhysical)
_index_logical = msgspec.msgpack.Decoder(_IndexLogical)
_index_physical = msgspec.msgpack.Decoder(_IndexPhysical)


class _Table(dict[_T, int]):
    """Numbers values in the order they come up."""

    def __missing__(self, key: _T) -> int:
        self[key] = number = len(self)
        return number


def encode_leaf(entries: Sequence[Entry], resolve: Resolve) -> tuple[bytes, bytes]:
    """Encode a slice of a directory: its hash and its frame."""
    objects: _Table[object] = _Table()
    packs: _Table[bytes] = _Table()
    file_objects: list[int] = []
    file_offsets: list[int] = []
    pieces = []
    blocks = []
    pages = []
    directories = []
    below = []
    targets = []
    for at, entry in enumerate(entries):
        if entry.kind <= Kind.EXECUTABLE:
            extents = entry.extents
            if len(extents) == 1:
                file_objects.append(objects[_object_key(extents[0])])
                file_offsets.append(extents[0].offset)
            else:
                file_objects.append(0)
                file_offsets.append(0)
                if extents:
                    pieces.append((at, [(objects[_object_key(e)], e.offset, e.length) for e in extents]))
            if entry.blocks:
                blocks.append((at, entry.blocks))
            elif entry.pages:
                pages.append((at, [(page.hash, *_pack(page.location, packs, resolve)) for page in entry.pages]))
        elif entry.directory is not None:
            below.append(entry.directory.entries)
            directories.append(_pack(entry.directory.location, packs, resolve))
        else:
            targets.append(entry.target)
    logical = _encode(
        LeafLogical(
            [entry.name for entry in entries],
            bytes([entry.kind for entry in entries]),
            [entry.size for entry in entries],
            b"".join([entry.hash for entry in entries]),
            below,
            targets,
            [(at, entry.metadata) for at, entry in enumerate(entries) if entry.metadata],
        )
    )
    physical = _encode(
        LeafPhysical(
            [entry.mtime_ns for entry in entries],
            list(objects),  # type: ignore[arg-type]  # keys are what _object_key returns
            file_objects,
            file_offsets,
            pieces,
            blocks,
            pages,
            list(packs),
            directories,
        )
    )
    return leaf_hash(logical), encode_frame(FRAME_LEAF, _encode((logical, physical)))


def _object_key(extent: Extent) -> object:
    found = extent.object
    return found if isinstance(found, bytes) else (found.uri, found.version_id, found.etag)


def _pack(location: Location, packs: _Table[bytes], resolve: Resolve) -> Packed:
    return packs[resolve(location.pack)], location.offset, location.length, location.digest


def encode_index(
    level: int, lasts: Sequence[bytes], children: Sequence[NodeRef], resolve: Resolve
) -> tuple[bytes, bytes]:
    """Encode one level above leaves or index nodes: its hash and its frame."""
    packs: _Table[bytes] = _Table()
    logical = _encode(
        _IndexLogical(
            level,
            list(lasts),
            b"".join([child.hash for child in children]),
            [child.entries for child in children],
            [child.size for child in children],
        )
    )
    located = [_pack(child.location, packs, resolve) for child in children]
    physical = _encode(_IndexPhysical(list(packs), located))
    return index_hash(logical), encode_frame(FRAME_INDEX, _encode((logical, physical)))


def encode_page(hashes: bytes) -> tuple[bytes, bytes]:
    """Encode one page of a block list: its hash and its frame."""
    return page_hash(hashes), encode_frame(FRAME_PAGE, hashes)


def decode_page(frame: bytes | memoryview, expected: bytes) -> bytes:
    """Return the joined block hashes of a page whose hash is `expected`."""
    kind, content = decode_frame(frame)
    if kind != FRAME_PAGE or len(content) % HASH_SIZE or not 0 < len(content) <= PAGE_BLOCKS * HASH_SIZE:
        _bad("a page of block hashes has the wrong shape")
    if page_hash(content) != expected:
        _bad("a page of block hashes is not the one that was meant")
    return content


def decode_node(frame: bytes | memoryview, ref: NodeRef) -> Node:
    """Decode and check the node that `ref` stands for.

    IntegrityError: the frame is not the one referred to, says something else than the hash promises, or breaks a
    rule of the format. FormatTooNewError: it was written by a later one.
    """
    kind, content = decode_frame(frame)
    if content_hash(frame) != ref.location.digest:
        _bad("a node's frame is not the one that was meant")
    own_pack = ref.location.pack
    try:
        parts = _content_decoder.decode(content)
        node: Node
        if kind == FRAME_LEAF:
            if leaf_hash(parts.logical) != ref.hash:
                _bad("a leaf is not the one that was meant")
            node = _leaf(_leaf_logical.decode(parts.logical), _leaf_physical.decode(parts.physical), own_pack)
        elif kind == FRAME_INDEX:
            if index_hash(parts.logical) != ref.hash:
                _bad("an index node is not the one that was meant")
            node = _index(_index_logical.decode(parts.logical), _index_physical.decode(parts.physical), own_pack)
        else:
            _bad("a page of block hashes stands where a node should")
    except (msgspec.DecodeError, RecursionError) as error:
        raise IntegrityError("a node is malformed", why=str(error)) from error
    if node.entries != ref.entries or node.size != ref.size:
        _bad("a node's counts are not what its parent says")
    return node


def _bad(what: str) -> NoReturn:
    raise IntegrityError(what, fix="Run `penstock verify` on the version, and push the data again from its source.")


def _check_names(names: list[bytes]) -> None:
    if not all(map(operator.lt, names, names[1:])):
        _bad("a node's names are not in order")
    joined = b"\0".join(names)
    if joined.count(b"\0") != max(len(names) - 1, 0) or b"/" in joined:
        _bad("a node holds a name with a slash or a NUL byte")
    if names and (not names[0] or max(map(len, names)) > MAX_NAME):
        _bad("a node holds an empty name or one of more than 255 bytes")
    for special in (b".", b".."):
        if special in names:
            _bad(f"a node holds the name {special.decode()!r}")


def _check_packs(packs: list[bytes], located: Sequence[Packed]) -> None:
    if any(len(pack) not in (0, HASH_SIZE) for pack in packs):
        _bad("a node names a pack by something that is no hash")
    for pack, offset, length, digest in located:
        if not (0 <= pack < len(packs) and 0 <= offset <= MAX_SIZE and 0 < length <= MAX_FRAME):
            _bad("a node gives a place that cannot be")
        if len(digest) != HASH_SIZE:
            _bad("a node gives a digest of the wrong length")


def _check_sums(counts: list[int], sizes: list[int]) -> None:
    if counts and not (min(counts) >= 0 and max(counts) < _COUNT_LIMIT and sum(counts) < _COUNT_LIMIT):
        _bad("a node's counts are out of bounds")
    if sizes and not (min(sizes) >= 0 and sum(sizes) <= MAX_SIZE):
        _bad("a node's sizes are out of bounds")


def _leaf(logical: LeafLogical, physical: LeafPhysical, own_pack: bytes) -> Leaf:
    names = logical.names
    count = len(names)
    kinds = logical.kinds
    files = kinds.count(Kind.FILE) + kinds.count(Kind.EXECUTABLE)
    directories = kinds.count(Kind.DIRECTORY)
    symlinks = kinds.count(Kind.SYMLINK)
    if files + directories + symlinks != len(kinds):
        _bad("a leaf holds an entry of an unknown kind")
    lengths = (len(kinds), len(logical.sizes), len(logical.hashes) // HASH_SIZE, len(physical.mtimes))
    if any(length != count for length in lengths) or len(logical.hashes) % HASH_SIZE:
        _bad("a leaf's columns differ in length")
    if len(logical.below) != directories or len(physical.directories) != directories:
        _bad("a leaf's directories do not add up")
    if len(physical.file_objects) != files or len(physical.file_offsets) != files:
        _bad("a leaf's files do not add up")
    _check_names(names)
    _check_sums(logical.below, logical.sizes)
    _check_packs(physical.packs, physical.directories)
    _check_symlinks(logical, symlinks)
    if any(not -MAX_SIZE <= mtime <= MAX_SIZE for mtime in physical.mtimes):
        _bad("a modification time is out of bounds")
    _check_metadata(logical, count)
    _check_objects(physical)
    _check_files(logical, physical)
    return Leaf(logical, physical, own_pack)


def _check_symlinks(logical: LeafLogical, symlinks: int) -> None:
    if len(logical.targets) != symlinks:
        _bad("a leaf's symlinks do not add up")
    if any(not 0 < len(target) <= MAX_TARGET or b"\0" in target for target in logical.targets):
        _bad("a symlink's target is empty, too long, or holds a NUL byte")
    places = [at for at, kind in enumerate(logical.kinds) if kind == Kind.SYMLINK] if symlinks else []
    for at, target in zip(places, logical.targets, strict=True):
        digest = logical.hashes[at * HASH_SIZE : (at + 1) * HASH_SIZE]
        if logical.sizes[at] != len(target) or digest != content_hash(target):
            _bad("a symlink's size or hash is not that of its target")


def _check_metadata(logical: LeafLogical, count: int) -> None:
    last = -1
    for at, body in logical.metadata:
        if not last < at < count or not 0 < len(body) <= MAX_METADATA:
            _bad("a leaf's metadata is out of order or too large")
        last = at


def _check_objects(physical: LeafPhysical) -> None:
    for found in physical.objects:
        if isinstance(found, bytes):
            if len(found) != HASH_SIZE:
                _bad("a leaf names an object by something that is no hash")
        elif not found[0].startswith(("s3://", "file:///")):
            _bad("a leaf points to an address of an unknown kind")


def _check_files(logical: LeafLogical, physical: LeafPhysical) -> None:
    pieces = dict(physical.pieces)
    blocks = dict(physical.blocks)
    pages = dict(physical.pages)
    if len(pieces) != len(physical.pieces) or len(blocks) != len(physical.blocks) or len(pages) != len(physical.pages):
        _bad("a leaf lists a file twice")
    objects = len(physical.objects)
    if physical.file_offsets and not (min(physical.file_offsets) >= 0 and max(physical.file_offsets) <= MAX_SIZE):
        _bad("an extent starts out of bounds")
    if physical.file_objects and min(physical.file_objects) < 0:
        _bad("an extent is of no object of the leaf")
    rank = 0
    for at, kind in enumerate(logical.kinds):
        if kind > Kind.EXECUTABLE:
            continue
        size = logical.sizes[at]
        if size and at not in pieces and physical.file_objects[rank] >= objects:
            _bad("an extent is of no object of the leaf")
        if block_count(size) > 1:
            if at in blocks:
                _check_inline(logical, at, size, blocks.pop(at))
            elif at in pages:
                _check_pages(logical, physical, at, size, pages.pop(at))
            else:
                _bad("a large file has no block hashes")
        if at in pieces:
            _check_pieces(size, objects, pieces.pop(at))
        rank += 1
    if pieces or blocks or pages:
        _bad("a leaf says more of a file than it may")


def _check_inline(logical: LeafLogical, at: int, size: int, hashes: bytes) -> None:
    if len(hashes) != HASH_SIZE * block_count(size) or block_count(size) > INLINE_BLOCKS:
        _bad("a file has the wrong number of block hashes")
    if hash_of_blocks(size, hashes) != logical.hashes[at * HASH_SIZE : (at + 1) * HASH_SIZE]:
        _bad("a file's block hashes are not those of the file")


def _check_pages(
    logical: LeafLogical,
    physical: LeafPhysical,
    at: int,
    size: int,
    pages: list[tuple[bytes, int, int, int, bytes]],
) -> None:
    if len(pages) != (block_count(size) + PAGE_BLOCKS - 1) // PAGE_BLOCKS or any(len(p[0]) != HASH_SIZE for p in pages):
        _bad("a file has the wrong number of pages of block hashes")
    _check_packs(physical.packs, [page[1:] for page in pages])
    joined = b"".join(page[0] for page in pages)
    if file_hash(size, joined) != logical.hashes[at * HASH_SIZE : (at + 1) * HASH_SIZE]:
        _bad("a file's pages of block hashes are not those of the file")


def _check_pieces(size: int, objects: int, pieces: list[tuple[int, int, int]]) -> None:
    if len(pieces) < 2 or sum(length for _, _, length in pieces) != size:
        _bad("a file's extents do not cover it")
    for obj, offset, length in pieces:
        if not (0 <= obj < objects and 0 <= offset <= MAX_SIZE and length > 0):
            _bad("an extent cannot be")


def _index(logical: _IndexLogical, physical: _IndexPhysical, own_pack: bytes) -> IndexNode:
    count = len(logical.lasts)
    lengths = (
        len(logical.hashes) // HASH_SIZE,
        len(logical.entries),
        len(logical.sizes),
        len(physical.children),
    )
    if not count or any(length != count for length in lengths) or len(logical.hashes) % HASH_SIZE:
        _bad("an index node's columns differ in length")
    if not 1 <= logical.level <= _MAX_LEVEL:
        _bad("an index node's level is out of bounds")
    _check_names(logical.lasts)
    _check_sums(logical.entries, logical.sizes)
    _check_packs(physical.packs, physical.children)
    children = [
        NodeRef(
            logical.hashes[at * HASH_SIZE : (at + 1) * HASH_SIZE],
            logical.entries[at],
            logical.sizes[at],
            Location(physical.packs[pack] or own_pack, offset, length, digest),
        )
        for at, (pack, offset, length, digest) in enumerate(physical.children)
    ]
    return IndexNode(logical.level, logical.lasts, children)
