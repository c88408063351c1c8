"""Nodes to frames and back. Decoding trusts nothing: whatever comes out satisfies every rule of docs/FORMAT.md.

A frame's content is a msgpack array of two byte strings: the logical part, whose hash is the node's, and the
physical part. Both are msgpack arrays themselves, written in the shortest form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from penstock.errors import IntegrityError, UsageError

from .entry import (
    MAX_MTIME,
    MAX_SIZE,
    PAGE_BLOCKS,
    DocumentRef,
    Extent,
    Kind,
    Location,
    NodeRef,
    TreeEntry,
)
from .frame import (
    FRAME_DOCUMENT,
    FRAME_DOCUMENTED,
    FRAME_IDENTIFIED,
    FRAME_INDEX,
    FRAME_LEAF,
    FRAME_PAGE,
    FRAME_TIMED,
    FRAME_TIMED_DOCUMENTED,
    decode_frame,
    encode_frame,
)
from .hashing import (
    HASH_SIZE,
    content_hash,
    document_hash,
    documented_leaf_hash,
    identified_leaf_hash,
    index_hash,
    leaf_hash,
    page_hash,
)
from .metadata import parse_metadata
from .node import (
    DocumentedLogical,
    DocumentedPhysical,
    IdentifiedLogical,
    IdentifiedPhysical,
    IndexLogical,
    IndexNode,
    IndexPhysical,
    Leaf,
    LeafLogical,
    LeafPhysical,
    Node,
    Packed,
)
from .rules import MAX_EXTENTS, MAX_LOGICAL, bad, check_index, check_leaf

__all__ = [
    "decode_document",
    "decode_node",
    "decode_page",
    "encode_document",
    "encode_index",
    "encode_leaf",
    "encode_page",
]

Resolve = Callable[[bytes], bytes]
"""Turns the stand-in for a pack into its hash, or into b"" when it is the pack that is being written."""

_T = TypeVar("_T")
_encode = msgspec.msgpack.Encoder().encode


# What a decoded node takes in memory, beyond the bytes that it was decoded from: measured.
_NODE_BYTES = 2000
_ENTRY_BYTES = 215
_OBJECT_BYTES = 100
_EXTENT_BYTES = 20
_PAGE_BYTES = 84
_DOCUMENT_BYTES = 400
_CHILD_BYTES = 450


class _Content(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    logical: bytes
    physical: bytes


_content_decoder = msgspec.msgpack.Decoder(_Content)
_leaf_logical = msgspec.msgpack.Decoder(LeafLogical)
_leaf_physical = msgspec.msgpack.Decoder(LeafPhysical)
_documented_logical = msgspec.msgpack.Decoder(DocumentedLogical)
_documented_physical = msgspec.msgpack.Decoder(DocumentedPhysical)
_identified_logical = msgspec.msgpack.Decoder(IdentifiedLogical)
_identified_physical = msgspec.msgpack.Decoder(IdentifiedPhysical)
_LEAVES: dict[
    int, tuple[Callable[[bytes], bytes], Callable[[bytes], LeafLogical], Callable[[bytes], LeafPhysical], bool]
] = {
    FRAME_LEAF: (leaf_hash, _leaf_logical.decode, _leaf_physical.decode, False),
    FRAME_TIMED: (leaf_hash, _leaf_logical.decode, _leaf_physical.decode, True),
    FRAME_DOCUMENTED: (documented_leaf_hash, _documented_logical.decode, _documented_physical.decode, False),
    FRAME_TIMED_DOCUMENTED: (documented_leaf_hash, _documented_logical.decode, _documented_physical.decode, True),
    FRAME_IDENTIFIED: (identified_leaf_hash, _identified_logical.decode, _identified_physical.decode, True),
}
"""By type: what hashes the logical part, what decodes the two parts, whether a time may be 0 or unknown."""
_index_logical = msgspec.msgpack.Decoder(IndexLogical)
_index_physical = msgspec.msgpack.Decoder(IndexPhysical)


class _Table(dict[_T, int]):
    """Numbers values in the order they come up."""

    def __missing__(self, key: _T) -> int:
        self[key] = number = len(self)
        return number


def encode_leaf(entries: Sequence[TreeEntry], resolve: Resolve) -> tuple[bytes, bytes]:
    """Encode a slice of a directory: its hash and its frame. UsageError: it is more than a node may hold."""
    objects: _Table[object] = _Table()
    packs: _Table[bytes] = _Table()
    file_objects: list[int] = []
    file_offsets: list[int] = []
    pieces = []
    blocks = []
    pages = []
    directories = []
    identities = []
    below = []
    targets = []
    scattered = 0
    for at, entry in enumerate(entries):
        if entry.kind <= Kind.EXECUTABLE:
            extents = entry.extents
            if len(extents) == 1:
                found = extents[0].object
                if not isinstance(found, bytes) and found.size is not None:
                    identities.append(at)
                file_objects.append(objects[_object_key(extents[0])])
                file_offsets.append(extents[0].offset)
            else:
                file_objects.append(0)
                file_offsets.append(0)
                if extents:
                    scattered += len(extents)
                    pieces.append((at, _raw([(objects[_object_key(e)], e.offset, e.length) for e in extents])))
            if entry.blocks:
                blocks.append((at, entry.blocks))
            elif entry.pages:
                pages.append((at, _raw([(page.hash, *_pack(page.location, packs, resolve)) for page in entry.pages])))
        elif entry.directory is not None:
            below.append(entry.directory.entries)
            directories.append(_pack(entry.directory.location, packs, resolve))
        else:
            targets.append(entry.target)
    if scattered > MAX_EXTENTS:
        raise UsageError(
            f"{scattered} extents in a node",
            why=f"the most is {MAX_EXTENTS}",
            fix="Write the files that were changed in many places anew, as a whole.",
        )
    some = [(at, entry.metadata) for at, entry in enumerate(entries) if entry.metadata]
    documents = [(at, metadata) for at, metadata in some if isinstance(metadata, DocumentRef)]
    inline = [(at, metadata) for at, metadata in some if isinstance(metadata, bytes)] if documents else some
    places = [_pack(ref.location, packs, resolve) for _, ref in documents]
    logical = (
        [entry.name for entry in entries],
        bytes([entry.kind for entry in entries]),
        [entry.size for entry in entries],
        b"".join([entry.hash for entry in entries]),
        below,
        targets,
        inline,
    )
    mtimes = [entry.mtime_ns for entry in entries]
    timed = bool(identities) or 0 in mtimes or max(filter(None, mtimes), default=0) > MAX_SIZE
    physical = (
        # Some file systems keep times that no 64 bits of nanoseconds hold.
        [mtime if mtime is None else max(-MAX_SIZE, min(mtime, MAX_MTIME)) for mtime in mtimes]
        if timed
        else [max(-MAX_SIZE, mtime or 0) for mtime in mtimes],
        list(objects),
        file_objects,
        file_offsets,
        pieces,
        blocks,
        pages,
        list(packs),
        directories,
    )
    if identities:
        hashed = _encode((*logical, [(at, ref.size, ref.hash) for at, ref in documents], identities))
        content = _encode((hashed, _encode((*physical, places))))
        return identified_leaf_hash(hashed), encode_frame(FRAME_IDENTIFIED, content)
    if documents:
        hashed = _encode((*logical, [(at, ref.size, ref.hash) for at, ref in documents]))
        content = _encode((hashed, _encode((*physical, places))))
        return documented_leaf_hash(hashed), encode_frame(
            FRAME_TIMED_DOCUMENTED if timed else FRAME_DOCUMENTED, content
        )
    hashed = _encode(logical)
    content = _encode((hashed, _encode(physical)))
    return leaf_hash(hashed), encode_frame(FRAME_TIMED if timed else FRAME_LEAF, content)


def _raw(rows: list[tuple[object, ...]]) -> msgspec.Raw:
    return msgspec.Raw(_encode(rows))


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
        IndexLogical(
            level,
            list(lasts),
            b"".join([child.hash for child in children]),
            [child.entries for child in children],
            [child.size for child in children],
        )
    )
    located = [_pack(child.location, packs, resolve) for child in children]
    physical = _encode(IndexPhysical(list(packs), located))
    return index_hash(logical), encode_frame(FRAME_INDEX, _encode((logical, physical)))


def encode_page(hashes: bytes) -> tuple[bytes, bytes]:
    """Encode one page of a block list: its hash and its frame."""
    return page_hash(hashes), encode_frame(FRAME_PAGE, hashes)


def encode_document(body: bytes) -> tuple[bytes, bytes]:
    """Encode metadata that is too much for a leaf: its hash and its frame."""
    return document_hash(body), encode_frame(FRAME_DOCUMENT, body)


def decode_document(frame: bytes | memoryview, ref: DocumentRef) -> bytes:
    """Return the canonical JSON that `ref` stands for. IntegrityError: the frame holds something else."""
    kind, content = decode_frame(frame)
    if kind != FRAME_DOCUMENT or len(content) != ref.size or document_hash(content) != ref.hash:
        bad("a document is not the one that was meant")
    parse_metadata(content)
    return content


def decode_page(frame: bytes | memoryview, expected: bytes, count: int | None = None) -> bytes:
    """Return the joined block hashes of a page whose hash is `expected`.

    `count` is how many there must be: PAGE_BLOCKS, fewer in a file's last page. Without it, the page may be shorter
    than the file's size asks for: look before indexing.
    """
    kind, content = decode_frame(frame)
    if kind != FRAME_PAGE or len(content) % HASH_SIZE or not 0 < len(content) <= PAGE_BLOCKS * HASH_SIZE:
        bad("a page of block hashes has the wrong shape")
    if page_hash(content) != expected:
        bad("a page of block hashes is not the one that was meant")
    if count is not None and len(content) != count * HASH_SIZE:
        bad("a page of block hashes has too few or too many")
    return content


def decode_node(frame: bytes | memoryview, ref: NodeRef) -> Node:
    """Decode and check the node that `ref` stands for.

    IntegrityError: the frame is not the one referred to, says something else than the hash promises, or breaks a
    rule of the format. FormatTooNewError: it was written by a later one.
    """
    if content_hash(frame) != ref.location.digest:
        bad("a node's frame is not the one that was meant")
    kind, content = decode_frame(frame)
    own_pack = ref.location.pack
    try:
        parts = _content_decoder.decode(content)
        if len(parts.logical) > MAX_LOGICAL:
            bad("a node's names and metadata are too large")
        node: Node
        if kind in _LEAVES:
            hashed, logical, physical, timed = _LEAVES[kind]
            if hashed(parts.logical) != ref.hash:
                bad("a leaf is not the one that was meant")
            node = _leaf(logical(parts.logical), physical(parts.physical), own_pack, len(content), timed=timed)
        elif kind == FRAME_INDEX:
            if index_hash(parts.logical) != ref.hash:
                bad("an index node is not the one that was meant")
            above, below = _index_logical.decode(parts.logical), _index_physical.decode(parts.physical)
            node = _index(above, below, own_pack, len(content))
        else:
            bad(f"a {'page of block hashes' if kind == FRAME_PAGE else 'document'} stands where a node should")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityError("a node is malformed", why=str(error)) from error
    if node.entries != ref.entries or node.size != ref.size:
        bad("a node's counts are not what its parent says")
    return node


def _leaf(logical: LeafLogical, physical: LeafPhysical, own_pack: bytes, size: int, *, timed: bool) -> Leaf:
    tables = check_leaf(logical, physical, own_pack, timed=timed)
    if tables.extents or tables.pages:
        physical = msgspec.structs.replace(physical, pieces=[], pages=[])  # which hold on to the bytes they came from
    weight = (
        size
        + _ENTRY_BYTES * len(logical.names)
        + _OBJECT_BYTES * (len(physical.objects) + len(physical.packs))
        + _EXTENT_BYTES * sum(map(len, tables.extents.values()))
        + _PAGE_BYTES * sum(map(len, tables.pages.values()))
        + _DOCUMENT_BYTES * len(tables.documents)
    )
    return Leaf(logical, physical, tables, own_pack, _NODE_BYTES + weight, timed=timed)


def _index(logical: IndexLogical, physical: IndexPhysical, own_pack: bytes, size: int) -> IndexNode:
    check_index(logical, physical)
    children = [
        NodeRef(
            logical.hashes[at * HASH_SIZE : (at + 1) * HASH_SIZE],
            logical.entries[at],
            logical.sizes[at],
            Location(physical.packs[pack] or own_pack, offset, length, digest),
        )
        for at, (pack, offset, length, digest) in enumerate(physical.children)
    ]
    return IndexNode(logical.level, logical.lasts, children, _NODE_BYTES + size + _CHILD_BYTES * len(children))
