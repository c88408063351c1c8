"""Nodes of a tree that is not published: in one file of this disk, one frame behind the other, only ever appended.

They have the form that nodes have in a bucket, and are told from those by the name of their pack, 32 random bytes: one
tree may hold nodes of both. **Invariant:** what lies before `end` is never written again, so that who noted `end` after
`sync` finds all that it had. One thread writes.
"""

from __future__ import annotations

import os
import tempfile
from types import TracebackType
from typing import Self

from penstock.errors import AccessError, IntegrityError
from penstock.lru import Lru
from penstock.manifest.codec import decode_document, decode_node, decode_page
from penstock.manifest.entry import DocumentRef, Location, NodeRef, PageRef
from penstock.manifest.hashing import HASH_SIZE, content_hash
from penstock.manifest.node import Node

__all__ = ["FrameFile", "new_pack", "temporary_frames"]

_NODE_BYTES = 16 << 20
"""Bytes of decoded nodes that are kept in memory: single keys are looked up one after the other."""


def temporary_frames() -> FrameFile:
    """Return a file without a name, which is gone with this process."""
    descriptor, path = tempfile.mkstemp(prefix="penstock-")
    os.unlink(path)
    return FrameFile(descriptor, new_pack())


def new_pack() -> bytes:
    """Return a name for the frames of a file, which no pack of a bucket has."""
    return os.urandom(HASH_SIZE)


class FrameFile:
    """Sink and source of frames; `descriptor` is its own to close. A `NodeSink`."""

    def __init__(self, descriptor: int, pack: bytes, end: int = 0) -> None:
        self._descriptor = descriptor
        self._nodes: Lru[tuple[bytes, bytes, int, int], Node] = Lru(_NODE_BYTES)
        self.pack = pack
        self.end = end

    @property
    def mark(self) -> str:
        """What entries have as ETag whose bytes are not in the bucket yet, and that were added here."""
        return self.pack.hex()

    def write(self, frame: bytes) -> Location:
        """Append a frame. AccessError: the disk does not take it."""
        where = Location(self.pack, self.end, len(frame), content_hash(frame))
        at = 0
        try:
            while at < len(frame):
                at += os.pwrite(self._descriptor, frame[at:] if at else frame, self.end + at)
        except OSError as error:
            raise AccessError(
                "what is being built cannot be written down",
                why=error.strerror or str(error),
                fix="Make room on the disk, and do it again.",
            ) from error
        self.end += len(frame)
        return where

    def write_apart(self, frame: bytes) -> Location:
        """Append a document's frame, like any other."""
        return self.write(frame)

    def resolve(self, pack: bytes) -> bytes:
        """Return a pack's name, which is known from the beginning."""
        return pack

    def has(self, where: Location) -> bool:
        """Whether a frame lies here, and in no bucket."""
        return where.pack == self.pack

    def load(self, ref: NodeRef) -> Node:
        """Return a node. IntegrityError: the file was damaged."""
        node = self._nodes.get(ref.identity)
        if node is None:
            node = decode_node(self._frame(ref.location), ref)
            self._nodes.put(ref.identity, node, node.weight)
        return node

    def page(self, ref: PageRef, count: int) -> bytes:
        """Return the joined block hashes of a page."""
        return decode_page(self._frame(ref.location), ref.hash, count)

    def document(self, ref: DocumentRef) -> bytes:
        """Return the metadata in a document."""
        return decode_document(self._frame(ref.location), ref)

    def _frame(self, where: Location) -> bytes:
        frame = os.pread(self._descriptor, where.length, where.offset)
        if content_hash(frame) != where.digest:
            raise IntegrityError(
                "what was written down of the version being built is damaged",
                why="a node has another hash",
                fix="Begin anew; what is published is untouched.",
            )
        return frame

    def sync(self) -> None:
        """Have what was written survive a power cut."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
