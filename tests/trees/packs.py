"""A node sink that fills packs, as a real upload does: a frame's pack has no name until the pack is full."""

from __future__ import annotations

from penstock.manifest.codec import decode_node
from penstock.manifest.entry import Location, NodeRef
from penstock.manifest.hashing import content_hash
from penstock.manifest.node import Node

__all__ = ["PackSink"]


class PackSink:
    """Packs of at least `most` bytes, kept in memory by their hash."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open = bytearray()
        self._names: list[bytes] = []
        self.packs: dict[bytes, bytes] = {}

    def write(self, frame: bytes) -> Location:
        """Append the frame; close the pack behind it when it is full."""
        where = Location(self._stand_in(), len(self._open), len(frame), content_hash(frame))
        self._open += frame
        if len(self._open) >= self._most:
            self.close()
        return where

    def write_apart(self, frame: bytes) -> Location:
        """Put a document's frame into a pack of its own."""
        digest = content_hash(frame)
        self.packs[digest] = frame
        return Location(digest, 0, len(frame), digest)

    def _stand_in(self) -> bytes:
        return len(self._names).to_bytes(4, "big")

    def close(self) -> None:
        """Give the open pack its name."""
        body = bytes(self._open)
        self._names.append(content_hash(body))
        self.packs[self._names[-1]] = body
        self._open.clear()

    def resolve(self, pack: bytes) -> bytes:
        """Turn a stand-in into a name, or into nothing while the pack is open."""
        if len(pack) != 4:
            return pack
        return b"" if pack == self._stand_in() else self._names[int.from_bytes(pack, "big")]

    def located(self, ref: NodeRef) -> NodeRef:
        """Return the reference by the pack's name."""
        where = ref.location
        place = Location(self.resolve(where.pack), where.offset, where.length, where.digest)
        return NodeRef(ref.hash, ref.entries, ref.size, place)

    def load(self, ref: NodeRef) -> Node:
        """Read a node by where it lies alone."""
        where = ref.location
        return decode_node(self.packs[where.pack][where.offset : where.offset + where.length], ref)
