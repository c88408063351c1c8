"""Walk over a tree that may be damaged: what cannot be read is told, and the rest is walked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from penstock.errors import AccessError, IntegrityError
from penstock.manifest.descend import LoadNode, check_depth, open_child
from penstock.manifest.entry import NodeRef
from penstock.manifest.node import IndexNode, Leaf, Node

__all__ = ["UNREADABLE", "Path", "Unreadable", "walk_leaves"]

Path = tuple[bytes, ...]
Unreadable = IntegrityError | AccessError
"""What is wrong with a node that cannot be read: it is damaged or missing, or the store does not give it out."""

UNREADABLE = (IntegrityError, AccessError)


class _Step(NamedTuple):
    """A node that is still to be read: of which directory, and where below its parent if that is an index node."""

    path: Path
    ref: NodeRef
    parent: IndexNode | None
    at: int
    low: bytes


def walk_leaves(
    root: NodeRef,
    load: LoadNode,
    unreadable: Callable[[Path, NodeRef, Unreadable], None],
    visit: Callable[[NodeRef], bool] | None = None,
) -> Iterator[tuple[Path, Leaf]]:
    """Yield all leaves, each with the path of its directory, and before what lies below it.

    With `visit`, only those at and below nodes that it is True for. `unreadable` is told the directory, and the
    reference, of a node that is damaged, missing, refused, or in a wrong place.
    """
    pending = [_Step((), root, None, 0, b"")]
    while pending:
        path, ref, parent, at, low = pending.pop()
        if visit is not None and not visit(ref):
            continue
        try:
            check_depth(len(path))
            node: Node
            node, low = (load(ref), b"") if parent is None else open_child(parent, at, low, load)
        except UNREADABLE as error:
            unreadable(path, ref, error)
            continue
        if isinstance(node, IndexNode):
            pending += [_Step(path, node.children[at], node, at, low) for at in reversed(range(len(node)))]
        else:
            yield path, node
            below = [_Step((*path, name), child, None, 0, b"") for name, child in node.directories()]
            pending += reversed(below)
