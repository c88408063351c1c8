"""Node packs on their way up: the nodes of a new version, in the order in which a tree is built, a few MiB an object.

What is below a node lies just before it, its siblings next to it, so that one request for half a MiB brings what a
walk needs next (`repo/session/nodes`). Documents, which no walk needs, go to packs of their own. One thread.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.manifest.entry import DocumentRef, Location, Metadata, NodeRef
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
        self._opened = 0
        self._nodes = self._open()
        self._documents = self._open()
        self._hashes: dict[bytes, bytes] = {}
        self.packs = 0
        self.bytes = 0

    def _open(self) -> _Pack:
        self._opened += 1
        return _Pack(self._opened.to_bytes(8, "big"))

    def write(self, frame: bytes) -> Location:
        """Add a frame to the pack."""
        # The pack ends after a frame, never before one: the frame may say "in my own pack" of what it refers to.
        where = self._nodes.add(frame)
        if len(self._nodes.body) >= _PACK_BYTES:
            self._close_nodes()
        return where

    def write_apart(self, frame: bytes) -> Location:
        """Add a document's frame to the pack of those."""
        where = self._documents.add(frame)
        if len(self._documents.body) >= _PACK_BYTES:
            self._close_documents()
        return where

    def resolve(self, pack: bytes) -> bytes:
        """Turn a stand-in into the pack's hash; b"" while it is the pack of nodes being filled.

        A pack of documents ends here, before the first leaf that names it.
        """
        if len(pack) != 8:
            return pack
        if pack == self._documents.stand_in:
            self._close_documents()
        return b"" if pack == self._nodes.stand_in else self._hashes[pack]

    def flush(self) -> None:
        """Hand the packs on, full or not."""
        self._close_documents()
        self._close_nodes()

    def _close_nodes(self) -> None:
        self._hand_on(self._nodes)
        self._nodes = self._open()

    def _close_documents(self) -> None:
        self._hand_on(self._documents)
        self._documents = self._open()

    def _hand_on(self, pack: _Pack) -> None:
        if not pack.body:
            return
        body = bytes(pack.body)
        digest = self._hashes[pack.stand_in] = content_hash(body)
        self.packs += 1
        self.bytes += len(body)
        self._upload(object_keys.node_key(digest), body)

    def located(self, ref: NodeRef) -> NodeRef:
        """Return the reference with its pack's hash in place of a stand-in; only after `flush`."""
        return NodeRef(ref.hash, ref.entries, ref.size, self._located(ref.location))

    def located_metadata(self, metadata: Metadata) -> Metadata:
        """Return the metadata of a version, of which a document is located likewise; only after `flush`."""
        if isinstance(metadata, bytes):
            return metadata
        return DocumentRef(metadata.hash, metadata.size, self._located(metadata.location))

    def _located(self, where: Location) -> Location:
        pack = self.resolve(where.pack)
        assert pack
        return Location(pack, where.offset, where.length, where.digest)


class _Pack:
    """A pack that is being filled."""

    def __init__(self, stand_in: bytes) -> None:
        self.stand_in = stand_in
        self.body = bytearray()

    def add(self, frame: bytes) -> Location:
        where = Location(self.stand_in, len(self.body), len(frame), content_hash(frame))
        self.body += frame
        return where
