"""Nodes by reference: from memory, else from the block cache, else from the bucket.

A node is fetched with what lies around it in its pack: the nodes below it come just before it, its siblings next to
it, so that a walk over a whole tree costs one request for half a MiB of nodes. Whatever came along is kept under
its own hash, in memory and in the block cache; only what is asked for by hash is ever believed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from penstock.errors import IntegrityError, NotFoundError
from penstock.lru import Lru
from penstock.manifest.codec import decode_document, decode_node, decode_page
from penstock.manifest.entry import Location, Metadata, NodeRef, PageRef
from penstock.manifest.frame import frames_around
from penstock.manifest.hashing import content_hash
from penstock.manifest.node import Node
from penstock.manifest.tree import NodeMissing
from penstock.repo.bucket import object_keys
from penstock.repo.fetch.request_counts import RequestCounts
from penstock.store.base import ByteRange, Store

if TYPE_CHECKING:
    from penstock.cache import BlockCache

__all__ = ["Nodes"]

_REACH = 256 << 10
"""Bytes before and behind a node that come along."""
_NARROW = 32 << 10
_RAW_BYTES = 16 << 20
_NODE_BYTES = 48 << 20
"""Bytes of decoded nodes that are kept in memory: 150,000 ordinary entries."""
_RESTORE = "Restore the object from a copy of the bucket."


class Nodes:
    """Loads nodes, pages and documents of one bucket. Blocking, thread-safe; `peek` never blocks."""

    def __init__(self, store: Store, cache: BlockCache | None, counters: RequestCounts) -> None:
        self._store = store
        self._cache = cache
        self._counters = counters
        self._reach = _REACH
        self._nodes: Lru[tuple[bytes, bytes, int, int], Node] = Lru(_NODE_BYTES)
        self._raw: Lru[bytes, bytes] = Lru(_RAW_BYTES)

    def begin_narrow(self) -> None:
        """Have few neighbours come along at first, and twice as many each time: for who may ask a single question."""
        self._reach = _NARROW

    def peek(self, ref: NodeRef) -> Node:
        """Return a node that is in memory; NodeMissing otherwise."""
        node = self._nodes.get(ref.identity)
        if node is None:
            raise NodeMissing(ref)
        return node

    def load(self, ref: NodeRef) -> Node:
        """Return a node from wherever it is nearest."""
        identity = ref.identity
        found = self._nodes.get(identity)
        if found is None:
            with self._naming(ref.location):
                found = decode_node(self._frame(ref.location), ref)
            self._nodes.put(identity, found, found.weight)
        return found

    def load_together(self, refs: Sequence[NodeRef], behind: int) -> list[Node]:
        """Return nodes of one pack, given in the order of their places, by one request when the first is not here.

        It asks for what they span, and `behind` bytes before that.
        """
        first, last = refs[0].location, refs[-1].location
        if self._nodes.get(refs[0].identity) is None and self._held(first) is None:
            with self._naming(first):
                self._fetch(first, behind, last.offset + last.length - first.offset)
        return [self.load(ref) for ref in refs]

    def page(self, ref: PageRef, count: int) -> bytes:
        """Return the joined block hashes of a page that must have so many."""
        with self._naming(ref.location):
            return decode_page(self._frame(ref.location), ref.hash, count)

    def metadata(self, metadata: Metadata) -> bytes:
        """Return metadata as canonical JSON: as it is, or from its document."""
        if isinstance(metadata, bytes):
            return metadata
        with self._naming(metadata.location):
            return decode_document(self._frame(metadata.location), metadata)

    @contextmanager
    def _naming(self, where: Location) -> Iterator[None]:
        """Add to what is wrong with a node where it lies."""
        try:
            yield
        except IntegrityError as error:
            place = f"{object_keys.node_key(where.pack)} in {self._store.url}"
            raise type(error)(
                f"cannot use the node at {where.offset} of {place}", why=error.reason, fix=error.fix
            ) from error

    def _frame(self, where: Location) -> bytes | memoryview:
        held = self._held(where)
        if held is not None:
            return held
        reach, self._reach = self._reach, min(2 * self._reach, _REACH)
        return self._fetch(where, reach, reach)

    def _held(self, where: Location) -> bytes | memoryview | None:
        raw = self._raw.get(where.digest)
        if raw is None and self._cache is not None:
            return self._cache.get(where.digest)
        return raw

    def _fetch(self, where: Location, behind: int, ahead: int) -> bytes:
        start = max(0, where.offset - behind)
        position = where.offset - start
        wanted = ByteRange(start, position + max(where.length, ahead))
        window = self._window(where.pack, wanted)
        frame = bytes(window[position : position + where.length])
        if content_hash(frame) != where.digest:
            # Once more: the fault may have been on the way. A second time it is in the store.
            window = self._window(where.pack, wanted)
            frame = bytes(window[position : position + where.length])
            if content_hash(frame) != where.digest:
                raise IntegrityError("it is not what was written", why="its hash is another", fix=_RESTORE)
            self._counters.add(corrupt_answers=1)
        self._keep(window, position)
        return frame

    def _window(self, pack: bytes, wanted: ByteRange) -> bytes:
        try:
            window = self._store.get(object_keys.node_key(pack), wanted, checked=True)
        except NotFoundError as error:
            raise IntegrityError("it is missing", why=error.what, fix=_RESTORE) from error
        self._counters.add(gets=1, bytes_fetched=len(window), node_gets=1)
        return window

    def _keep(self, window: bytes, position: int) -> None:
        frames = []
        for at, length in frames_around(window, position):
            frame = window[at : at + length]
            digest = content_hash(frame)
            self._raw.put(digest, frame, length)
            frames.append((digest, frame))
        if self._cache is not None:
            self._cache.put_many(frames)
