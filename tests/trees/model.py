"""Trees as plain nested dicts, and the naive way to do with them what `penstock.manifest` does cleverly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from penstock.manifest.build import MemorySink, TreeBuilder, with_blocks
from penstock.manifest.codec import decode_document, decode_node
from penstock.manifest.entry import Kind, Metadata, NodeRef, TreeEntry
from penstock.manifest.node import IndexNode, Node

__all__ = ["File", "Folder", "Loader", "Path", "bare", "build", "built", "fill", "find", "flatten", "reachable"]

Path = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class File:
    """A file or symlink; `blocks` are the joined hashes of its blocks."""

    entry: TreeEntry
    blocks: bytes = b""


@dataclass(slots=True)
class Folder:
    """A directory."""

    children: dict[bytes, File | Folder] = field(default_factory=dict)
    mtime_ns: int | None = None
    metadata: bytes = b""

    def copy(self) -> Folder:
        """Return a folder that changes on its own from here on."""
        children = {name: item.copy() if isinstance(item, Folder) else item for name, item in self.children.items()}
        return replace(self, children=children)


class Loader:
    """Loads nodes from a sink's frames through the strict decoder, and counts."""

    def __init__(self, *sinks: MemorySink) -> None:
        self._sinks = sinks
        self.count = 0

    def __call__(self, ref: NodeRef) -> Node:
        self.count += 1
        digest = ref.location.digest
        frame = next(sink.frames[digest] for sink in self._sinks if digest in sink.frames)
        return decode_node(frame, ref)

    def metadata(self, metadata: Metadata) -> bytes:
        """Return metadata as canonical JSON, from its document if it has one; counted too."""
        if isinstance(metadata, bytes):
            return metadata
        self.count += 1
        digest = metadata.location.digest
        return decode_document(next(sink.frames[digest] for sink in self._sinks if digest in sink.frames), metadata)


def fill(builder: TreeBuilder, folder: Folder) -> None:
    """Hand everything in a folder to a builder, in tree order."""
    for name, item in sorted(folder.children.items()):
        if isinstance(item, Folder):
            builder.enter(name, mtime_ns=item.mtime_ns, metadata=item.metadata)
            fill(builder, item)
            builder.leave()
        elif item.blocks:
            builder.add_file(item.entry, item.blocks)
        else:
            builder.add(item.entry)


def build(folder: Folder, sink: MemorySink) -> NodeRef:
    """Build the tree from nothing."""
    builder = TreeBuilder(sink)
    fill(builder, folder)
    return builder.finish()


def built(folder: Folder) -> tuple[NodeRef, Loader]:
    """Build the tree in memory; its root, and what loads its nodes."""
    sink = MemorySink()
    return build(folder, sink), Loader(sink)


def bare(entry: TreeEntry) -> tuple[object, ...]:
    """Return what can be said of an entry without knowing its directory's node: all the rest of it."""
    below = entry.directory.entries if entry.directory is not None else None
    whole = (entry.name, entry.kind, entry.size, entry.mtime_ns, entry.metadata, entry.target, entry.extents)
    return (*whole, entry.blocks, entry.pages, None if below is not None else entry.hash, below)


def flatten(folder: Folder, path: Path = ()) -> Iterator[tuple[Path, tuple[object, ...]]]:
    """Yield every path with the `bare` entry it must have, in tree order."""
    write = MemorySink().write
    for name, item in sorted(folder.children.items()):
        here = (*path, name)
        if isinstance(item, File):
            yield here, bare(with_blocks(item.entry, item.blocks, write) if item.blocks else item.entry)
        else:
            size, count = _sums(item)
            yield here, (name, Kind.DIRECTORY, size, item.mtime_ns, item.metadata, b"", (), b"", (), None, count)
            yield from flatten(item, here)


def _sums(folder: Folder) -> tuple[int, int]:
    size = count = 0
    for item in folder.children.values():
        more, below = _sums(item) if isinstance(item, Folder) else (item.entry.size, 0)
        if isinstance(item, Folder) or item.entry.kind is not Kind.SYMLINK:
            size += more
        count += 1 + below
    return size, count


def find(folder: Folder, path: Iterable[bytes]) -> File | Folder | None:
    """Follow a path."""
    here: File | Folder | None = folder
    for name in path:
        if not isinstance(here, Folder):
            return None
        here = here.children.get(name)
    return here


def reachable(root: NodeRef, load: Loader) -> list[tuple[int, bytes, int, int, bytes]]:
    """List every node below a root, in order: level, hash, entries, size, and the digest of its frame."""
    found = []
    stack = [root]
    while stack:
        ref = stack.pop()
        node = load(ref)
        found.append((node.level, ref.hash, ref.entries, ref.size, ref.location.digest))
        if isinstance(node, IndexNode):
            stack.extend(reversed(node.children))
        else:
            entries = [node.entry(at) for at in range(len(node))]
            stack.extend(entry.directory for entry in reversed(entries) if entry.directory is not None)
    return found
