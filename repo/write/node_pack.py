"""Node packs on their way up: the nodes of a new version, in the order in which a tree is built, a few MiB an object.

What is below a node lies just before it, its siblings next to it, so that one request for half a MiB brings what a
walk needs next (`repo/session/nodes`). One thread.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.manifest.entry import Location, NodeRef
from penstock.manifest.hashing import content_hash
from penstock.repo.bucket import object_keys

__all__ = ["NodePackWriter"]

_PACK_BYTES = 8 << 20


class NodePackWriter:
    """Gathers frames into node packs and hands each full one to `upload`. The `NodeSink` of a push or commit.

    A pack's hash is known when it is full; until then its frames go by a stand-in of 8 bytes.
    """

    def __init__(self, upload: Callable[[str, bytes], None]) -> None:
        self._upload = upload
        self._buffer = bytearray()
        self._number = 0
        self._hashes: dict[bytes, bytes] = {}
        self.packs = 0
        self.bytes = 0

    def _stand_in(self) -> bytes:
        return self._number.to_bytes(8, "big")

    def write(self, frame: bytes) -> Location:
        """Add a frame to the pack."""
        where = Location(self._stand_in(), len(self._buffer), len(frame), content_hash(frame))
        # The pack ends after a frame, never before one: the frame may say "in my own pack" of what it refers to.
        self._buffer += frame
        if len(self._buffer) >= _PACK_BYTES:
            self.flush()
        return where

    def resolve(self, pack: bytes) -> bytes:
        """Turn a stand-in into the pack's hash; b"" while it is the pack being filled."""
        if len(pack) != 8:
            return pack
        return b"" if pack == self._stand_in() else self._hashes[pack]

    def flush(self) -> None:
        """Hand the pack on, full or not."""
        if not self._buffer:
            return
        body = bytes(self._buffer)
        digest = content_hash(body)
        self._hashes[self._stand_in()] = digest
        self._number += 1
        self._buffer.clear()
        self.packs += 1
        self.bytes += len(body)
        self._upload(object_keys.node_key(digest), body)

    def located(self, ref: NodeRef) -> NodeRef:
        """Return the reference with its pack's hash in place of a stand-in; only after `flush`."""
        where = ref.location
        pack = self.resolve(where.pack)
        assert pack
        return NodeRef(ref.hash, ref.entries, ref.size, Location(pack, where.offset, where.length, where.digest))
