"""Build a tree from a stream of entries in tree order, in memory that does not grow with their number.

Tree order: within a directory by the bytes of the name, a directory's content right after it. What is held at any
moment is one unfinished slice a level of each directory that is open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import structs

from penstock.errors import UsageError

from .codec import encode_document, encode_index, encode_leaf, encode_page
from .descend import LoadNode
from .entry import (
    INLINE_BLOCKS,
    INLINE_METADATA,
    MAX_DEPTH,
    MAX_METADATA,
    DocumentRef,
    Kind,
    Location,
    Metadata,
    NodeRef,
    PageRef,
    TreeEntry,
    block_count,
    check_name,
    display_path,
)
from .hashing import HASH_SIZE, content_hash, document_hash, pages_of
from .node import IndexNode
from .split import MAX_INDEX_ITEMS, MAX_LEAF_ENTRIES, MAX_LEAF_WEIGHT, cut_level, entry_weight

__all__ = ["DirectoryWriter", "DiscardSink", "MemorySink", "NodeSink", "TreeBuilder", "keep_metadata"]


class NodeSink(Protocol):
    """Where finished frames go. Locations it gives may name a pack by a stand-in until the pack is full."""

    def write(self, frame: bytes) -> Location:
        """Take a frame; say where it lies."""
        ...

    def resolve(self, pack: bytes) -> bytes:
        """Turn a pack's stand-in into its hash, or b"" when it is the pack the next frame goes to."""
        ...

    def write_apart(self, frame: bytes) -> Location:
        """Take a document's frame, which is not to lie where nodes are: who reads nodes reads what is around them."""
        ...


class MemorySink:
    """Keeps frames in a dict by digest: for computing hashes with nothing stored, and for small trees."""

    def __init__(self) -> None:
        self.frames: dict[bytes, bytes] = {}

    def write(self, frame: bytes) -> Location:
        """Keep the frame."""
        digest = content_hash(frame)
        self.frames[digest] = frame
        return Location(bytes(HASH_SIZE), 0, len(frame), digest)

    def resolve(self, pack: bytes) -> bytes:
        """Every frame is in the one pack of zeros."""
        return pack

    def write_apart(self, frame: bytes) -> Location:
        """Keep the frame, like any other."""
        return self.write(frame)


class DiscardSink(MemorySink):
    """Forgets frames: when only the hash of the tree is wanted."""

    def write(self, frame: bytes) -> Location:
        """Count the frame's length as its place; nothing is kept."""
        return Location(bytes(HASH_SIZE), 0, len(frame), bytes(HASH_SIZE))


class _Level:
    """The unfinished slice at one level: entries at level 0, references to nodes with their last names above."""

    __slots__ = ("closed", "entries", "lasts", "refs", "weight")

    def __init__(self) -> None:
        self.entries: list[TreeEntry] = []
        self.lasts: list[bytes] = []
        self.refs: list[NodeRef] = []
        self.weight = 0
        self.closed = False  # a cut follows the last item; acted on when another item comes


class DirectoryWriter:
    """Takes one directory's entries in order, and whole nodes of an older tree where nothing changed.

    A slice that is due to end is only ended when something follows it, so that a directory that fits one node has
    no index above it.

    With `base`, an older state of the directory and how to load its nodes, a node that comes out the same is not
    written again but referred to where it lies.
    """

    def __init__(self, sink: NodeSink, base: tuple[NodeRef, LoadNode] | None = None) -> None:
        self._sink = sink
        self._base = base
        self._levels = [_Level()]
        self._last: bytes | None = None

    def put(self, entry: TreeEntry) -> None:
        """Add the next entry; UsageError when it cannot be named so, or its name does not sort after the last one."""
        name = check_name(entry.name)
        if self._last is not None and name <= self._last:
            raise UsageError(
                f"{name!r} comes after {self._last!r}", why="entries must come in byte order, each name once"
            )
        self._last = name
        metadata = entry.metadata
        if metadata and isinstance(metadata, bytes) and len(metadata) > INLINE_METADATA:
            entry = structs.replace(entry, metadata=self._document(name, metadata))
        level = self._levels[0]
        if level.closed:
            self._flush(0)
        level.entries.append(entry)
        level.weight += entry_weight(entry)
        level.closed = cut_level(name) >= 1 or len(level.entries) >= MAX_LEAF_ENTRIES or level.weight >= MAX_LEAF_WEIGHT

    def _document(self, name: bytes, body: bytes) -> Metadata:
        """Write metadata as a document, unless the base's entry of that name has it already."""
        if self._base is not None:
            ref, load = self._base
            node = load(ref)
            while isinstance(node, IndexNode):
                at = node.child_for(name)
                if at == len(node):
                    return keep_metadata(body, self._sink)
                node = load(node.children[at])
            at = node.find(name)
            before = node.metadata(at) if at >= 0 else b""
            if isinstance(before, DocumentRef) and before.hash == document_hash(body):
                return before
        return keep_metadata(body, self._sink)

    def put_node(self, level: int, last: bytes, ref: NodeRef) -> bool:
        """Add a whole node of an older tree, whose last name is `last`; False when it does not fit here.

        It fits where every slice up to its level has just ended. The caller sees to it that the node ended at a
        cut in the older tree as well, or that nothing follows.
        """
        while len(self._levels) <= level + 1:
            self._levels.append(_Level())
        for number in range(level + 1):
            if self._levels[number].closed:
                self._flush(number)
            if self._levels[number].entries or self._levels[number].refs:
                return False
        self._add_ref(level + 1, last, ref)
        self._last = last
        return True

    def _add_ref(self, number: int, last: bytes, ref: NodeRef) -> None:
        if len(self._levels) <= number:
            self._levels.append(_Level())
        level = self._levels[number]
        if level.closed:
            self._flush(number)
        level.refs.append(ref)
        level.lasts.append(last)
        level.closed = cut_level(last) > number or len(level.refs) >= MAX_INDEX_ITEMS

    def _flush(self, number: int) -> None:
        """Write the slice at a level as a node, and hand its reference to the level above."""
        level = self._levels[number]
        if number == 0:
            entries = level.entries
            digest, frame = encode_leaf(entries, self._sink.resolve)
            last = entries[-1].name if entries else b""
            count = sum([1 + entry.directory.entries if entry.directory else 1 for entry in entries])
            size = sum([entry.size for entry in entries if entry.kind != Kind.SYMLINK])
            level.entries = []
            level.weight = 0
        else:
            digest, frame = encode_index(number, level.lasts, level.refs, self._sink.resolve)
            last = level.lasts[-1]
            count = sum([ref.entries for ref in level.refs])
            size = sum([ref.size for ref in level.refs])
            level.refs = []
            level.lasts = []
        level.closed = False
        ref = self._written_before(number, last, digest) or NodeRef(digest, count, size, self._sink.write(frame))
        self._add_ref(number + 1, last, ref)

    def _written_before(self, level: int, last: bytes, digest: bytes) -> NodeRef | None:
        """Return the base's node of this level and content, if it has one. Nodes are cut alike in both."""
        if self._base is None:
            return None
        ref, load = self._base
        while ref.hash != digest:
            node = load(ref)
            if node.level <= level or not isinstance(node, IndexNode):
                return None
            at = node.child_for(last)
            if at == len(node):
                return None
            ref = node.children[at]
        return ref

    def finish(self) -> NodeRef:
        """End the directory: the reference to its root node. An empty directory is a leaf with no entries."""
        bottom = self._levels[0]
        if bottom.entries or self._last is None:
            self._flush(0)
        number = 1
        while True:
            level = self._levels[number]
            above = self._levels[number + 1 :]
            if len(level.refs) == 1 and not any(each.refs for each in above):
                return level.refs[0]
            if level.refs:
                self._flush(number)
            number += 1


class TreeBuilder:
    """Build a whole tree: `add` files and symlinks, `enter` and `leave` directories, `finish`."""

    def __init__(self, sink: NodeSink, base: NodeRef | None = None, load: LoadNode | None = None) -> None:
        self._sink = sink
        self._load = load
        self._open: list[tuple[TreeEntry, DirectoryWriter]] = []
        self._writer = self._directory(base)

    def _directory(self, base: NodeRef | None) -> DirectoryWriter:
        return DirectoryWriter(self._sink, (base, self._load) if base is not None and self._load is not None else None)

    def add(self, entry: TreeEntry) -> None:
        """Add a file, a symlink, or a directory whose nodes are written already, to the directory that is open."""
        self._writer.put(entry)

    def add_file(self, entry: TreeEntry, blocks: bytes) -> None:
        """Add a file with the joined hashes of its blocks, wherever they belong: in the leaf or in pages."""
        self._writer.put(with_blocks(entry, blocks, self._sink.write))

    def enter(
        self, name: bytes, *, mtime_ns: int | None = None, metadata: Metadata = b"", base: NodeRef | None = None
    ) -> None:
        """Open a directory inside the one that is open; `base` is an older state of it."""
        if len(self._open) >= MAX_DEPTH - 1:  # so that what lies in it is not too deep either
            path = display_path([entry.name for entry, _ in self._open][:8])
            raise UsageError(f"{path}/… is nested too deeply", why=f"the most is {MAX_DEPTH} levels")
        self._open.append((TreeEntry(name, Kind.DIRECTORY, mtime_ns=mtime_ns, metadata=metadata), self._writer))
        self._writer = self._directory(base)

    def leave(self) -> NodeRef:
        """Close the directory opened last."""
        ref = self._writer.finish()
        entry, self._writer = self._open.pop()
        self._writer.put(directory_entry(entry, ref))
        return ref

    def finish(self) -> NodeRef:
        """End the tree: the reference to its root node."""
        assert not self._open
        return self._writer.finish()


def keep_metadata(metadata: Metadata, sink: NodeSink) -> Metadata:
    """Return metadata as an entry, or the manifest, of a tree holds it: much of it is written as a document.

    UsageError: more than MAX_METADATA.
    """
    if isinstance(metadata, DocumentRef) or len(metadata) <= INLINE_METADATA:
        return metadata
    if len(metadata) > MAX_METADATA:
        raise UsageError(f"metadata of {len(metadata)} bytes", why=f"the most is {MAX_METADATA}")
    digest, frame = encode_document(metadata)
    return DocumentRef(digest, len(metadata), sink.write_apart(frame))


def directory_entry(entry: TreeEntry, ref: NodeRef) -> TreeEntry:
    """Return the entry of a directory with this content, with name, time and metadata of `entry`."""
    return TreeEntry(entry.name, Kind.DIRECTORY, ref.size, ref.hash, entry.mtime_ns, entry.metadata, directory=ref)


def with_blocks(entry: TreeEntry, blocks: bytes, write: Callable[[bytes], Location]) -> TreeEntry:
    """Return a file's entry with its block hashes: in the entry itself, or in pages that are written first."""
    if block_count(entry.size) <= INLINE_BLOCKS:
        pages: tuple[PageRef, ...] = ()
    else:
        pages = tuple(PageRef(digest, write(frame)) for digest, frame in map(encode_page, pages_of(blocks)))
        blocks = b""
    return TreeEntry(
        entry.name,
        entry.kind,
        entry.size,
        entry.hash,
        entry.mtime_ns,
        entry.metadata,
        extents=entry.extents,
        blocks=blocks,
        pages=pages,
    )
