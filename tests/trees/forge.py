"""Nodes as an enemy would write them: any content, with every hash made right, so that the strict checks are met."""

from __future__ import annotations

from typing import Any

import msgspec
import zstandard

from penstock.errors import IntegrityError
from penstock.manifest.codec import decode_node
from penstock.manifest.entry import (
    BLOCK_SIZE,
    PAGE_BLOCKS,
    External,
    Kind,
    Location,
    NodeRef,
    block_count,
    name_problem,
)
from penstock.manifest.frame import (
    FRAME_DOCUMENTED,
    FRAME_IDENTIFIED,
    FRAME_LEAF,
    FRAME_TIMED,
    FRAME_TIMED_DOCUMENTED,
    decode_frame,
    encode_frame,
)
from penstock.manifest.hashing import (
    HASH_SIZE,
    content_hash,
    documented_leaf_hash,
    identified_leaf_hash,
    index_hash,
    leaf_hash,
)
from penstock.manifest.identity import hash_of_identity, identity_problem
from penstock.manifest.node import IndexNode, Leaf, Node

__all__ = ["attempt", "exercise", "forge", "forge_bytes", "parts_of", "raw_frame"]

encode = msgspec.msgpack.encode
_HASHES = {
    FRAME_LEAF: leaf_hash,
    FRAME_TIMED: leaf_hash,
    FRAME_DOCUMENTED: documented_leaf_hash,
    FRAME_TIMED_DOCUMENTED: documented_leaf_hash,
    FRAME_IDENTIFIED: identified_leaf_hash,
}


def parts_of(frame: bytes) -> tuple[int, list[Any], list[Any]]:
    """Take a node's frame apart: its type, its logical and its physical part as plain lists."""
    kind, content = decode_frame(frame)
    logical, physical = msgspec.msgpack.decode(content)
    return kind, msgspec.msgpack.decode(logical), msgspec.msgpack.decode(physical)


def forge(kind: int, logical: Any, physical: Any, counts: tuple[int, int] | None = None) -> tuple[bytes, NodeRef]:
    """Make the frame of a node with these parts, and a reference under which it should be believed."""
    return forge_bytes(kind, encode(logical), encode(physical), counts or _counts(kind, logical))


def forge_bytes(kind: int, logical: bytes, physical: bytes, counts: tuple[int, int]) -> tuple[bytes, NodeRef]:
    """Like `forge`, the parts as bytes that may be no msgpack at all."""
    frame = encode_frame(kind, encode((logical, physical)))
    digest = _HASHES.get(kind, index_hash)(logical)
    return frame, NodeRef(digest, *counts, Location(bytes(32), 0, len(frame), content_hash(frame)))


def _counts(kind: int, logical: Any) -> tuple[int, int]:
    try:
        if kind in _HASHES:
            names, kinds, sizes, _, below, *_ = logical
            pairs = zip(kinds, sizes, strict=False)
            return len(names) + sum(below), sum(size for kind, size in pairs if kind != Kind.SYMLINK)
        return sum(logical[3]), sum(logical[4])
    except (TypeError, ValueError, LookupError):
        return 0, 0


def raw_frame(kind: int, content: bytes, content_length: int | None = None) -> bytes:
    """Make a frame whose body is whatever it is."""
    length = len(content) if content_length is None else content_length
    head = b"PSN1" + bytes([kind, 0, 0, 0]) + len(content).to_bytes(4, "little") + length.to_bytes(4, "little")
    return head + content + (len(content) + 20).to_bytes(4, "little")


def bomb(size: int) -> bytes:
    """Return a few hundred bytes that zstandard unpacks to `size` zeros."""
    packer = zstandard.ZstdCompressor(level=19).compressobj(size=size)
    zeros = bytes(1 << 20)
    parts = [packer.compress(zeros) for _ in range(size >> 20)]
    return b"".join([*parts, packer.flush()])


def attempt(frame: bytes, ref: NodeRef) -> Node | None:
    """Decode; None when it is refused as it should be. What is accepted is used in every way there is."""
    try:
        node = decode_node(frame, ref)
    except IntegrityError:
        return None
    exercise(node)
    assert (node.entries, node.size) == (ref.entries, ref.size)
    return node


def exercise(node: Node) -> None:
    """Use all of a node, and hold it against the rules once more, one entry at a time."""
    names = node.names
    assert all(not name_problem(name) for name in names)
    assert names == sorted(set(names))
    assert 0 <= node.entries < 1 << 48
    assert 0 <= node.size < 1 << 63
    assert len(node.positions) == len(node) + 1
    for position in {0, node.entries // 2, node.entries - 1}:
        if 0 <= position < node.entries:
            at, inside = node.at_position(position)
            assert node.positions[at] + inside == position
    if isinstance(node, IndexNode):
        assert len(node.children) == len(node) > 0
        assert all(child.entries > 0 and len(child.location.pack) == HASH_SIZE for child in node.children)
        return
    for at in range(len(node)):
        _exercise_entry(node, at)


def _exercise_entry(leaf: Leaf, at: int) -> None:
    entry = leaf.entry(at)
    assert (entry.kind, entry.hash, entry.name) == (leaf.kind(at), leaf.hash(at), leaf.names[at])
    assert len(entry.hash) == HASH_SIZE
    assert (entry.directory is not None) == (entry.kind is Kind.DIRECTORY)
    if entry.kind is Kind.SYMLINK:
        assert len(entry.target) == entry.size
    elif entry.is_file:
        assert sum(extent.length for extent in entry.extents) == entry.size
        assert all(extent.offset >= 0 and extent.length > 0 for extent in entry.extents)
        count = block_count(entry.size)
        if entry.is_identity:
            (extent,) = entry.extents
            found = extent.object
            assert isinstance(found, External)
            assert not identity_problem(found)
            assert (extent.offset, found.size, hash_of_identity(entry.size, found)) == (0, entry.size, entry.hash)
        if entry.size <= BLOCK_SIZE or entry.is_identity:
            assert not entry.blocks
            assert not entry.pages
        elif entry.pages:
            assert len(entry.pages) == -(-count // PAGE_BLOCKS)
        else:
            assert len(entry.blocks) == count * HASH_SIZE
