"""Entries of another version: within one bucket by reference, from another one with what leads to their bytes.

From another bucket, data objects are named by their addresses, and by a mark that says so: they can be read there, by
whoever may, or be brought along when the data is pushed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import structs

from penstock.manifest.build import TreeBuilder, with_blocks
from penstock.manifest.entry import (
    PAGE_BLOCKS,
    Extent,
    External,
    NodeRef,
    TreeEntry,
    block_count,
)
from penstock.manifest.extents import cut_extents
from penstock.repo.bucket import object_keys
from penstock.store.base import ByteRange, Store

from .draft_tree import DraftTree
from .frame_file import FrameFile

__all__ = ["brought_entry", "brought_objects", "draft_version", "key_of_brought", "read_brought"]

_MARK = "+data"


def draft_version(frames: FrameFile, source: DraftTree, root: NodeRef) -> NodeRef:
    """Write a directory of a tree whose bucket is another one down, entry by entry; return its root."""
    builder = TreeBuilder(frames)
    depth = 0
    for names, entry in source.tree.walk(root):
        while depth >= len(names):
            builder.leave()
            depth -= 1
        if entry.directory is not None:
            builder.enter(entry.name, mtime_ns=entry.mtime_ns, metadata=source.read_metadata(entry.metadata))
            depth += 1
        else:
            builder.add(brought_entry(frames, source, entry))
    while depth:
        builder.leave()
        depth -= 1
    return builder.finish()


def brought_entry(frames: FrameFile, source: DraftTree, entry: TreeEntry) -> TreeEntry:
    """Return an entry of such a tree, a file or symlink, as it is written down."""

    def moved(each: Extent) -> Extent:
        if isinstance(each.object, External):
            if each.object.etag is not None and each.object.etag.startswith(source.frames.mark):
                etag = frames.mark + each.object.etag.removeprefix(source.frames.mark)
                return Extent(External(each.object.uri, etag=etag), each.offset, each.length)
            return each
        assert source.session is not None
        uri = f"{source.session.store.url.rstrip('/')}/{object_keys.data_key(each.object)}"
        return Extent(External(uri, etag=frames.mark + _MARK), each.offset, each.length)

    entry = structs.replace(
        entry, metadata=source.read_metadata(entry.metadata), extents=tuple(map(moved, entry.extents))
    )
    return with_blocks(entry, b"".join(_pages(source, entry)), frames.write) if entry.pages else entry


def _pages(source: DraftTree, entry: TreeEntry) -> Iterator[bytes]:
    blocks = block_count(entry.size)
    for number, page in enumerate(entry.pages):
        yield source.page(page, min(PAGE_BLOCKS, blocks - number * PAGE_BLOCKS))


def brought_objects(entry: TreeEntry, mark: str) -> list[External]:
    """Return the data objects of other buckets that an entry's bytes lie in, as they were written down."""
    found = {each.object for each in entry.extents if isinstance(each.object, External)}
    return sorted((each for each in found if each.etag == mark + _MARK), key=lambda each: each.uri)


def key_of_brought(found: External) -> tuple[str, str]:
    """Return the address of the bucket that a data object lies in, and its key there."""
    root, _, rest = found.uri.partition(f"/{object_keys.ROOT}")
    return root, object_keys.ROOT + rest


def read_brought(entry: TreeEntry, offset: int, length: int, open_bucket: Callable[[str], Store]) -> bytes:
    """Read a range of a file whose bytes lie in data objects of other buckets. The caller holds it against hashes."""
    parts: list[bytes] = []
    for part in cut_extents(entry.extents, offset, length):
        assert isinstance(part.object, External)
        root, key = key_of_brought(part.object)
        parts.append(open_bucket(root).get(key, ByteRange(part.offset, part.length), checked=True))
    return b"".join(parts)
