"""Nodes of a version that is only tried: kept in a temporary file, for a look at how it would merge, and sent nowhere.

Used by the one thread that builds the version. OSError: the disk for temporary files refuses.
"""

from __future__ import annotations

import tempfile
from typing import Self

from penstock.manifest.codec import decode_document, decode_node
from penstock.manifest.descend import LoadNode
from penstock.manifest.entry import Metadata, NodeRef
from penstock.manifest.hashing import content_hash
from penstock.manifest.merge import ReadMetadata
from penstock.manifest.node import Node

__all__ = ["TriedNodes"]


class TriedNodes:
    """A context manager. `keep` takes packs as a bucket would; `load` and `read` find what lies in them, or ask on."""

    def __init__(self, load: LoadNode, read: ReadMetadata) -> None:
        self._load = load
        self._read = read
        self._places: dict[bytes, int] = {}
        self._end = 0

    def __enter__(self) -> Self:
        self._file = tempfile.TemporaryFile(prefix="penstock-tried-")  # closed when the block ends
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def keep(self, body: bytes) -> None:
        """Keep a pack."""
        self._file.seek(self._end)
        self._file.write(body)
        self._places[content_hash(body)] = self._end
        self._end += len(body)

    def load(self, ref: NodeRef) -> Node:
        """Return a node."""
        where = ref.location
        start = self._places.get(where.pack)
        return self._load(ref) if start is None else decode_node(self._frame(start + where.offset, where.length), ref)

    def read(self, metadata: Metadata) -> bytes:
        """Return metadata as canonical JSON."""
        if isinstance(metadata, bytes) or metadata.location.pack not in self._places:
            return self._read(metadata)
        where = metadata.location
        return decode_document(self._frame(self._places[where.pack] + where.offset, where.length), metadata)

    def _frame(self, start: int, length: int) -> bytes:
        self._file.seek(start)
        return self._file.read(length)
