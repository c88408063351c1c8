"""Mark: hold every object that a version needs. Each node is visited once, whatever number of versions share it.

What is walked is nodes, not entries: a leaf lists the objects of its files, so ten million files are some twenty
thousand steps.
"""

from __future__ import annotations

from collections.abc import Iterable

from penstock.manifest.descend import LoadNode
from penstock.manifest.entry import DocumentRef, NodeRef
from penstock.manifest.node import IndexNode
from penstock.manifest.records import Manifest
from penstock.progress import Stage
from penstock.repo.bucket.disk_sets import Marks

__all__ = ["DATA_MARK", "NODE_MARK", "PART_MARK", "mark_trees", "place_of"]

DATA_MARK = "data"
NODE_MARK = "node"
PART_MARK = "part"
"""Of parts that no version was made of in time: nothing ever holds them, they are garbage when they are old."""


def place_of(ref: NodeRef) -> bytes:
    """Return what tells a node from all others: where it lies. Equal nodes in two packs lead to different packs."""
    where = ref.location
    return where.pack + where.offset.to_bytes(8, "little") + where.digest


def mark_trees(manifests: Iterable[Manifest], load: LoadNode, marks: Marks, marking: Stage) -> None:
    """Hold the data objects and node packs of versions. `marking` is told the entries of each leaf.

    IntegrityError: a node is damaged or missing. Memory: the references of one directory a level.
    """
    for manifest in manifests:
        if isinstance(manifest.metadata, DocumentRef):
            marks.hold(NODE_MARK, [(manifest.metadata.location.pack, 0)])
        pending = [manifest.root]
        while pending:
            ref = pending.pop()
            if not marks.visit(place_of(ref)):
                continue
            marks.hold(NODE_MARK, [(ref.location.pack, 0)])
            node = load(ref)
            # Reversed: nodes lie in tree order in their packs, and neighbours come along with one request.
            if isinstance(node, IndexNode):
                pending += reversed(node.children)
                continue
            marks.hold(DATA_MARK, ((found, 0) for found in node.objects if isinstance(found, bytes)))
            marks.hold(NODE_MARK, ((pack, 0) for pack in node.packs))
            pending += reversed([directory for _, directory in node.directories()])
            marking.advance(len(node))
