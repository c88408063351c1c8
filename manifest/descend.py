"""The step from an index node to one of its children, checked: the one place where two nodes are held together.

A node alone can keep every rule and still lie about its place: be of the wrong level, or hold names that belong to
its neighbour. Then a listing would name what a look-up does not find.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.errors import IntegrityError

from .entry import MAX_DEPTH, NodeRef
from .node import IndexNode, Node

__all__ = ["LoadNode", "check_depth", "open_child"]

LoadNode = Callable[[NodeRef], Node]
"""Returns the node that a reference stands for, decoded and checked by ``codec``."""


def open_child(parent: IndexNode, at: int, low: bytes, load: LoadNode) -> tuple[Node, bytes]:
    """Return a child of an index node, and the name that all of its names sort after.

    `low` is that name for the parent itself, empty for the root of a directory. IntegrityError: it does not belong
    there.
    """
    node = load(parent.children[at])
    if at:
        low = parent.lasts[at - 1]
    names = node.names
    if node.level != parent.level - 1 or names[-1] != parent.lasts[at] or names[0] <= low:
        raise IntegrityError("a node stands at the wrong place of its directory")
    return node, low


def check_depth(depth: int) -> None:
    """Refuse a directory whose path has so many names that what lies in it would have more than MAX_DEPTH.

    What walks a tree holds a path, and a hostile tree is as deep as somebody cared to make it.
    """
    if depth >= MAX_DEPTH:
        raise IntegrityError(f"a tree is more than {MAX_DEPTH} levels deep")
