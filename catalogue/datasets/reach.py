"""Which bytes of a bucket belong to one dataset: what the versions of it lead to, and nothing else.

Data and nodes are shared by all datasets of a bucket, and a hash is no secret. So a key of one dataset gets ranges that
its versions refer to: from the manifests of the dataset down, each node that is asked for is looked into, and what it
points to is noted. Nodes are believed for their hashes, as everywhere. A range that is not noted is looked for in all
that was not looked into yet: that is done once for each node, and ends when all versions are known.

What is noted is in SQLite, and only what was seen: it can be lost at any time. Blocking, thread-safe.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator

import msgspec

from penstock.catalogue.state.grant_table import GrantTable, NodeGrant, Span
from penstock.errors import NotFoundError, StoreUnreachableError
from penstock.manifest.entry import DocumentRef, External, Location, Metadata, NodeRef
from penstock.manifest.node import IndexNode, Leaf
from penstock.manifest.records import Manifest
from penstock.repo.bucket import object_keys
from penstock.repo.session.bucket_session import BucketSession

__all__ = ["DatasetReach", "covered"]

_MOST_NODES = 64
"""Nodes that are looked into at once."""
_LOOK_SECONDS = 10.0
"""For which one request looks; the next one goes on from there."""
_KNOWN_SECONDS = 5.0
"""For which all is taken to be known, once all was looked into."""


class DatasetReach:
    """The bytes that belong to a dataset of an open bucket. `name` stands for it in the table."""

    def __init__(self, session: BucketSession, dataset: str, name: str, grants: GrantTable) -> None:
        self._session = session
        self.dataset = dataset
        self._prefix = object_keys.dataset_prefix(dataset)
        self._repository = session.repository(dataset)
        self._name = name
        self._grants = grants
        self._lock = threading.Lock()
        self._exhausted = float("-inf")

    def is_record(self, key: str) -> bool:
        """Whether an object is one of the dataset's own."""
        return key.startswith(self._prefix)

    def learn(self, key: str, body: bytes) -> None:
        """Note what a record that is sent leads to, if it is a manifest."""
        top_hash = key.removeprefix(f"{self._prefix}manifests/")
        if top_hash != key:
            self._note_manifest(Manifest.decode(body, bytes.fromhex(top_hash)))

    def spans(self, key: str, start: int, stop: int) -> list[Span]:
        """Return what of a range of a shared object belongs to the dataset, in order; nothing: none of it does.

        StoreUnreachableError: that is not known yet; what was found out until now need not be looked for again.
        """
        if not key.startswith((object_keys.DATA, object_keys.NODES)):
            return []
        is_node = key.startswith(object_keys.NODES)
        if is_node:
            self._open_within(key, start, stop)
        found = self._grants.spans(self._name, key, start, stop)
        # What lies around a node comes along unasked; of data, all that is asked for is expected.
        if (found and is_node) or _is_whole(found, start, stop):
            return found
        with self._lock:  # one look at all of it at a time; who waited finds what it has found
            if time.monotonic() - self._exhausted < _KNOWN_SECONDS:
                return self._grants.spans(self._name, key, start, stop)
            end = time.monotonic() + _LOOK_SECONDS
            for _ in self._look_further():
                found = self._grants.spans(self._name, key, start, stop)
                if (found and is_node) or _is_whole(found, start, stop):
                    return found
                if time.monotonic() > end:
                    raise StoreUnreachableError(
                        "what belongs to the dataset is still being found out", fix="Ask again."
                    )
            self._exhausted = time.monotonic()
        return self._grants.spans(self._name, key, start, stop)

    def _open_within(self, key: str, start: int, stop: int) -> None:
        """Look into the nodes of the dataset that lie in a range, and into those that they lead to there."""
        while nodes := self._grants.closed(self._name, _MOST_NODES, key, start, stop):
            self._open(nodes)

    def _look_further(self) -> Iterator[None]:
        """Look into all that was not looked into, step by step; then into versions that nobody has asked for."""
        yield from self._open_all()
        for found in self._session.store.list(f"{self._prefix}manifests/"):
            try:
                top_hash = bytes.fromhex(found.key.rpartition("/")[2])
            except ValueError:
                continue
            if len(top_hash) != 32 or self._grants.knows_version(self._name, top_hash):
                continue
            try:
                self._note_manifest(self._repository.manifest(top_hash))
            except NotFoundError:  # deleted since it was listed
                continue
            yield
            yield from self._open_all()

    def _open_all(self) -> Iterator[None]:
        while nodes := self._grants.closed(self._name, _MOST_NODES):
            self._open(nodes)
            yield

    def _note_manifest(self, manifest: Manifest) -> None:
        if not self._grants.knows_version(self._name, manifest.top_hash):
            ranges = list(_document(manifest.metadata))
            self._grants.add(self._name, [_grant(manifest.root)], ranges, (), version=manifest.top_hash)

    def _open(self, grants: list[NodeGrant]) -> None:
        nodes: list[NodeGrant] = []
        ranges: list[tuple[str, int, int]] = []
        for each in grants:
            node = self._session.load(msgspec.msgpack.decode(each.ref, type=NodeRef))
            if isinstance(node, IndexNode):
                nodes += [_grant(child) for child in node.children]
            else:
                nodes += [_grant(directory) for _, directory in node.directories()]
                ranges += _ranges(node)
        self._grants.add(self._name, nodes, _joined(ranges), grants)


def _grant(ref: NodeRef) -> NodeGrant:
    where = ref.location
    key = object_keys.node_key(where.pack)
    return NodeGrant(key, where.offset, where.offset + where.length, msgspec.msgpack.encode(ref))


def _ranges(leaf: Leaf) -> Iterator[tuple[str, int, int]]:
    """Yield where bytes of files lie, and pages and documents of their entries."""
    for entry in map(leaf.entry, range(len(leaf))):
        for extent in entry.extents:
            if not isinstance(extent.object, External):
                yield object_keys.data_key(extent.object), extent.offset, extent.offset + extent.length
        for page in entry.pages:
            yield _place(page.location)
        yield from _document(entry.metadata)


def _document(metadata: Metadata) -> Iterator[tuple[str, int, int]]:
    if isinstance(metadata, DocumentRef):
        yield _place(metadata.location)


def _place(where: Location) -> tuple[str, int, int]:
    return object_keys.node_key(where.pack), where.offset, where.offset + where.length


def _joined(ranges: Iterable[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Join ranges that touch: files of a leaf mostly lie one behind the other."""
    joined: list[tuple[str, int, int]] = []
    for key, start, stop in sorted(ranges):
        if joined and joined[-1][0] == key and start <= joined[-1][2]:
            joined[-1] = (key, joined[-1][1], max(stop, joined[-1][2]))
        else:
            joined.append((key, start, stop))
    return joined


def _is_whole(spans: list[Span], start: int, stop: int) -> bool:
    """Whether spans in order leave nothing of a range out. Pure."""
    at = start
    for first, last in spans:
        if first > at:
            return False
        at = max(at, last)
    return at >= stop


def covered(body: bytes, start: int, spans: list[Span]) -> bytes:
    """Return the bytes of a range that begins at `start`, with zeros for all that no span covers. Pure."""
    shown = bytearray(len(body))
    for first, last in spans:
        low, high = max(first - start, 0), min(last - start, len(body))
        if low < high:
            shown[low:high] = body[low:high]
    return bytes(shown)
