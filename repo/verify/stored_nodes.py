"""Nodes exactly as they lie in the bucket: for `verify`, which must not be content with a copy from elsewhere.

`Nodes` takes a frame from wherever it met one of that hash; here it comes from the place that the reference names,
and from nowhere else, in windows of a pack so that neighbours cost one request. One thread.
"""

from __future__ import annotations

from penstock.errors import IntegrityError
from penstock.lru import Lru
from penstock.manifest.codec import decode_node
from penstock.manifest.entry import Location, NodeRef
from penstock.manifest.hashing import content_hash
from penstock.manifest.node import Node
from penstock.repo.fetch.regions import RESTORE
from penstock.repo.fetch.request_counts import RequestCounts
from penstock.repo.session.nodes import Nodes
from penstock.store.base import ByteRange, Store

__all__ = ["StoredNodes"]

_BEHIND = 512 << 10
_AHEAD = 512 << 10
_WINDOWS = 8


class StoredNodes(Nodes):
    """Loads nodes and pages, each from its own place. Keeps a few windows of packs, and nothing decoded."""

    def __init__(self, store: Store, counters: RequestCounts) -> None:
        super().__init__(store, None, counters)
        self._windows: Lru[bytes, tuple[int, bytes]] = Lru(_WINDOWS)

    def load(self, ref: NodeRef) -> Node:
        """See `Nodes.load`."""
        with self._naming(ref.location):
            return decode_node(self._frame(ref.location), ref)

    def _frame(self, where: Location) -> bytes:
        for _ in range(2):  # the first time a fault may have been on the way
            start, window = self._around(where)
            frame = window[where.offset - start : where.offset - start + where.length]
            if content_hash(frame) == where.digest:
                return frame
            self._windows.drop(where.pack)
        raise IntegrityError("it is not what was written", why="its hash is another", fix=RESTORE)

    def _around(self, where: Location) -> tuple[int, bytes]:
        """Return the bytes of a pack around a frame, and the offset at which they begin."""
        start, window = self._windows.get(where.pack) or (0, b"")
        if not (start <= where.offset and where.offset + where.length <= start + len(window)):
            start = max(0, where.offset - _BEHIND)
            window = self._window(where.pack, ByteRange(start, where.offset - start + max(where.length, _AHEAD)))
            self._windows.put(where.pack, (start, window))
        return start, window
