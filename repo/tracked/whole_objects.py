"""A version goes to a bucket that has nothing like it: the objects that hold it here are sent as they are.

No file is looked at, so what it costs is reading, checking and sending a few objects of tens of MiB. It is done where
all of them are in the upper bucket, and are hardly more than what the version needs: of packs in which most is of other
versions, and of files that are objects of their own because they are links, `transfer.send_version` makes new packs.
"""

from __future__ import annotations

from penstock.errors import IntegrityError
from penstock.manifest.entry import DocumentRef, NodeRef
from penstock.manifest.hashing import content_hash
from penstock.manifest.node import IndexNode
from penstock.manifest.records import Manifest
from penstock.progress import Stage
from penstock.repo.bucket import object_keys
from penstock.repo.read.snapshot import Snapshot
from penstock.repo.write.version_content import VersionContent
from penstock.store.base import Store

__all__ = ["send_whole_objects"]

_MOST_OBJECT = 1 << 30
_FEW = 16
_MEAN = 4 << 20
"""Bytes that an object has to hold on average, where there are more than a few."""
_SPARE = 1 << 20


def send_whole_objects(source: Snapshot, upper: Store, content: VersionContent, reading: Stage) -> Manifest | None:
    """Send the objects of a version from the bucket on top, as they are; None: that cannot be, and nothing was sent.

    IntegrityError: an object here is not what its name says.
    """
    found = _objects_of(source, upper)
    if found is None:
        return None
    for data, digests in ((True, found[0]), (False, found[1])):
        key_of = object_keys.data_key if data else object_keys.node_key
        for digest in sorted(digests):
            key = key_of(digest)
            body = upper.get(key, limit=_MOST_OBJECT, checked=True)
            if content_hash(body) != digest:
                raise IntegrityError(
                    f"{key} is damaged", why="its bytes are not those that its name says", fix="penstock verify --deep"
                )
            reading.advance(len(body))
            content.send_object(key, body, data=data)
    content.finish_data()
    return source.manifest


def _objects_of(source: Snapshot, upper: Store) -> tuple[set[bytes], set[bytes]] | None:
    """Return a version's data objects and packs of nodes; None: some are not here, or it is too many, or too much."""
    manifest, session = source.manifest, source.session
    most = manifest.root.size + max(manifest.root.size // 10, _SPARE)
    objects: set[bytes] = set()
    packs: set[bytes] = set()
    if isinstance(manifest.metadata, DocumentRef):
        packs.add(manifest.metadata.location.pack)
    seen: set[bytes] = set()
    pending: list[NodeRef] = [manifest.root]
    while pending:
        level, pending = pending, []
        for ref in level:
            if ref.hash in seen:
                continue
            seen.add(ref.hash)
            packs.add(ref.location.pack)
            node = session.load(ref)
            if isinstance(node, IndexNode):
                pending += node.children
            else:
                objects.update(each for each in node.objects if isinstance(each, bytes))
                packs.update(node.packs)
                pending += [directory for _, directory in node.directories()]
        if len(objects) + len(packs) > max(_FEW, most // _MEAN):
            return None
    size = 0
    for digest in objects:
        there = upper.head(object_keys.data_key(digest))
        if there is None:
            return None
        size += there.size
    if size > most or any(upper.head(object_keys.node_key(digest)) is None for digest in packs):
        return None
    return objects, packs
