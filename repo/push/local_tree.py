"""The tree of a local directory, as a push would make it, kept in a temporary file: to be compared with a version.

Nothing is uploaded, and memory does not grow with the directory.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from penstock.manifest.build import NodeSink, TreeBuilder
from penstock.manifest.codec import decode_node
from penstock.manifest.entry import Extent, Kind, Location, NodeRef, TreeEntry
from penstock.manifest.hashing import HASH_SIZE, content_hash
from penstock.manifest.node import Node
from penstock.progress import Stage

from .directory_walk import EnterDirectory, LeaveDirectory, Skipped, walk_directory
from .file_reader import FilePiece, FileRead, read_ahead
from .local_attributes import NOTHING, KeptAttributes

__all__ = ["LocalTree", "build_local", "local_tree", "threads"]

_PACK = bytes(HASH_SIZE)


def threads() -> int:
    """Return how many threads read local files."""
    return min(16, 2 * (os.cpu_count() or 1))


@dataclass(slots=True)
class LocalTree:
    """What a directory holds: the root of its tree, its files and their bytes, and what no version can hold."""

    root: NodeRef
    files: int
    bytes: int
    skipped: list[Skipped]


class _FileFrames:
    """Keeps frames in a temporary file, one behind the other: sink and source of nodes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._end = 0

    def write(self, frame: bytes) -> Location:
        where = Location(_PACK, self._end, len(frame), content_hash(frame))
        at = 0
        while at < len(frame):
            at += os.pwrite(self._descriptor, frame[at:], self._end + at)
        self._end += len(frame)
        return where

    def write_apart(self, frame: bytes) -> Location:
        return self.write(frame)

    def resolve(self, pack: bytes) -> bytes:
        return pack

    def load(self, ref: NodeRef) -> Node:
        return decode_node(os.pread(self._descriptor, ref.location.length, ref.location.offset), ref)


@contextmanager
def local_tree(directory: str, hashing: Stage) -> Iterator[tuple[LocalTree, Callable[[NodeRef], Node]]]:
    """Read and hash a directory; give its tree and what loads the nodes, until the block ends."""
    with tempfile.TemporaryFile() as file:
        frames = _FileFrames(file.fileno())
        yield build_local(directory, frames, hashing), frames.load


def build_local(directory: str, sink: NodeSink, hashing: Stage, kept: KeptAttributes = NOTHING) -> LocalTree:
    """Build a directory's tree into a sink. `hashing` counts bytes.

    Errors as `source.walk_directory` and `file_reader.read_ahead`.
    """
    skipped: list[Skipped] = []
    builder = TreeBuilder(sink)
    files = size = 0
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(threads(), "penstock-read"))
        steps = stack.enter_context(closing(read_ahead(walk_directory(directory, skipped.append, kept), pool)))
        for step in steps:
            if isinstance(step, FilePiece):
                hashing.advance(len(step.data))
            elif isinstance(step, EnterDirectory):
                builder.enter(step.names[-1], metadata=step.metadata)
            elif isinstance(step, LeaveDirectory):
                builder.leave()
            elif isinstance(step, FileRead):
                _add(builder, step)
                hashing.advance(len(step.data))
                if step.file.kind is not Kind.SYMLINK:
                    files += 1
                    size += step.size
    return LocalTree(builder.finish(), files, size, skipped)


def _add(builder: TreeBuilder, read: FileRead) -> None:
    file = read.file
    target = read.data if file.kind is Kind.SYMLINK else b""
    # Where the bytes lie is not hashed, but every file has to lie somewhere.
    extents = (Extent(read.hash, 0, read.size),) if read.size and not target else ()
    entry = TreeEntry(file.names[-1], file.kind, read.size, read.hash, file.mtime_ns, file.metadata, target, extents)
    if read.blocks:
        builder.add_file(entry, read.blocks)
    else:
        builder.add(entry)
