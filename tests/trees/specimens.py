"""Leaves and an index node with something in every column, to be bent; and the numbers of their columns."""

from __future__ import annotations

from blake3 import blake3

from penstock.manifest.build import MemorySink, TreeBuilder
from penstock.manifest.codec import encode_index
from penstock.manifest.entry import BLOCK_SIZE, Extent, External, Kind, Location, NodeRef, TreeEntry
from penstock.manifest.hashing import content_hash, hash_of_blocks
from penstock.manifest.identity import identity_entry

NAMES, KINDS, SIZES, HASHES, BELOW, TARGETS, METADATA = range(7)
MTIMES, OBJECTS, FILE_OBJECTS, FILE_OFFSETS, PIECES, BLOCKS, PAGES, PACKS, DIRECTORIES = range(9)
LEVEL, LASTS, CHILD_HASHES, CHILD_ENTRIES, CHILD_SIZES = range(5)
CHILD_PACKS, CHILDREN = range(2)
A, B, C, D, E, F, G = range(7)
"""The entries of the leaf below: directory, symlink, small file, inline, paged, in three extents, empty."""


def _leaf_frame() -> bytes:
    sink = MemorySink()
    builder = TreeBuilder(sink)
    builder.enter(b"a", metadata=b'{"k":1}')
    builder.leave()
    builder.add(TreeEntry(b"b", Kind.SYMLINK, 3, content_hash(b"a/x"), 5, target=b"a/x"))
    builder.add(
        TreeEntry(b"c", Kind.EXECUTABLE, 10, content_hash(b"c"), -1, b'{"l":"x"}', extents=(Extent(bytes(32), 4, 10),))
    )
    for name, count in ((b"d", 2), (b"e", 33)):
        blocks, size = blake3(name).digest(32 * count), count * BLOCK_SIZE
        extents = (Extent(External("s3://b/k", "v", None), 0, size),)
        builder.add_file(TreeEntry(name, Kind.FILE, size, hash_of_blocks(size, blocks), extents=extents), blocks)
    pieces = (Extent(bytes(32), 0, 1), Extent(content_hash(b"1"), 9, 2), Extent(bytes(32), 1, 4))
    builder.add(TreeEntry(b"f", Kind.FILE, 7, content_hash(b"f"), extents=pieces))
    builder.add(TreeEntry(b"g", Kind.FILE, 0, content_hash(b"")))
    return sink.frames[builder.finish().location.digest]


def _index_frame() -> bytes:
    places = [Location(bytes([n]) * 32, n, 100 + n, content_hash(bytes([n]))) for n in range(3)]
    children = [NodeRef(content_hash(b"%d" % n), n + 1, 1000 * n, place) for n, place in enumerate(places)]
    sink = MemorySink()
    return encode_index(1, [b"f", b"m", b"t"], children, sink.resolve)[1]


def _identified_frame() -> bytes:
    sink = MemorySink()
    builder = TreeBuilder(sink)
    builder.add(TreeEntry(b"c", Kind.FILE, 10, content_hash(b"c"), -1, extents=(Extent(bytes(32), 4, 10),)))
    builder.add(identity_entry(b"i", External("s3://b/large", "v", "e"), 3 * BLOCK_SIZE, 7, b'{"k":1}'))
    builder.add(identity_entry(b"j", External("s3://b/versioned", "v2"), 5))
    builder.add(
        identity_entry(b"k", External("s3://b/tagged", None, "f"), 5, metadata=b'{"k":"' + b"m" * 70_000 + b'"}')
    )
    return sink.frames[builder.finish().location.digest]


LEAF, INDEX, IDENTIFIED = _leaf_frame(), _index_frame(), _identified_frame()
