"""Versions as an enemy would publish them, made by Penstock's own encoders: small in the bucket, huge when walked.

As a program it makes one: ``python -m trees.hostile FOLDER KIND``; the dataset is ``file://FOLDER/evil``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from penstock.manifest.build import NodeSink, TreeBuilder
from penstock.manifest.codec import encode_page
from penstock.manifest.entry import BLOCK_SIZE, PAGE_BLOCKS, Extent, Kind, NodeRef, PageRef, TreeEntry
from penstock.manifest.hashing import content_hash, file_hash
from penstock.manifest.records import Manifest
from penstock.repo.bucket.leases import Lease, LeaseKind
from penstock.repo.refs.refs import WriteAccess
from penstock.repo.refs.repository import Repository
from penstock.repo.write.node_pack import NodePackWriter
from penstock.repo.write.publish import Authorship, publish
from penstock.store import open_store

__all__ = ["DATASET", "FILE", "Build", "bomb", "extents", "one_file", "publish_tree"]

DATASET = "evil"
FILE = b"content of the one file"


Build = Callable[[TreeBuilder, NodeSink], None]
"""Adds the entries of a version."""


def publish_tree(url: str, build: Build, dataset: str = DATASET) -> Manifest:
    """Publish what `build` makes as the first version of a dataset, with the one data object of `FILE`."""
    store = open_store(url)
    try:
        digest = content_hash(FILE).hex()
        store.create(f".penstock/data/{digest[:2]}/{digest}", FILE)
        sink = NodePackWriter(lambda key, body: store.put(key, body))
        builder = TreeBuilder(sink)
        build(builder, sink)
        root = builder.finish()
        sink.flush()
        manifest = Manifest(sink.located(root))
        with Lease(store, dataset, LeaseKind.PUSH) as lease:
            who = Authorship("enemy", "", "push")
            publish(Repository(store, dataset), WriteAccess(lease), "main", None, manifest, who)
        return manifest
    finally:
        store.close()


def one_file(name: bytes = b"f") -> TreeEntry:
    """Return the entry of a file with the content of `FILE`."""
    return TreeEntry(
        name, Kind.FILE, len(FILE), content_hash(FILE), extents=(Extent(content_hash(FILE), 0, len(FILE)),)
    )


def bomb(width: int, depth: int) -> Build:
    """Make a tree of `depth` directories in each other, each of them there `width` times: width ** depth files."""

    def build(builder: TreeBuilder, sink: NodeSink) -> None:
        level = TreeBuilder(sink)
        level.add(one_file())
        for _ in range(depth - 1):
            below, level = level.finish(), TreeBuilder(sink)
            _add_equal(level, below, width)
        _add_equal(builder, level.finish(), width)

    return build


def _add_equal(builder: TreeBuilder, below: NodeRef, width: int) -> None:
    for number in range(width):
        builder.add(TreeEntry(b"m%03d" % number, Kind.DIRECTORY, below.size, below.hash, directory=below))


def extents(files: int, count: int) -> Build:
    """Make files in directories of their own, each in `count` extents of a block, all of them the same block.

    `count` is a multiple of the hashes in a page.
    """

    def build(builder: TreeBuilder, sink: NodeSink) -> None:
        hashes = bytes(32 * PAGE_BLOCKS)
        digest, frame = encode_page(hashes)
        pages = (PageRef(digest, sink.write(frame)),) * (count // PAGE_BLOCKS)
        size = count * BLOCK_SIZE
        whole = file_hash(size, digest * len(pages))
        places = (Extent(content_hash(FILE), 0, BLOCK_SIZE),) * count
        for number in range(files):
            builder.enter(b"%02d" % number)
            builder.add(TreeEntry(b"f", Kind.FILE, size, whole, number, extents=places, pages=pages))
            builder.leave()

    return build


KINDS = {"bomb": bomb(500, 5), "extents": extents(6, 1 << 20)}

if __name__ == "__main__":
    publish_tree(f"file://{sys.argv[1]}", KINDS[sys.argv[2]])
