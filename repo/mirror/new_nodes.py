"""The nodes of a tree that another tree does not have at the same place: what a mirror has to look into.

Trees are compared by where their nodes lie, and not by what they hash to: a node at the same place refers to the same
places below it, so all that it needs is there already. Of a directory, level by level, only those nodes are loaded that
stand in one tree and not in the other. Pure: nodes come from callables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from penstock.manifest.descend import LoadNode, check_depth
from penstock.manifest.entry import NodeRef
from penstock.manifest.node import IndexNode, Leaf, Node

__all__ = ["new_nodes", "place_of"]


def place_of(ref: NodeRef) -> bytes:
    """Return where a node lies, as one value."""
    where = ref.location
    return where.pack + where.offset.to_bytes(8, "little") + where.digest


def new_nodes(
    old: NodeRef | None, new: NodeRef, load_old: LoadNode, load_new: LoadNode, first: Callable[[NodeRef], bool]
) -> Iterator[Node]:
    """Yield the nodes of a tree that are new, those for whose references `first` is True.

    Memory: the references of one directory a level, and the directories of changed leaves that wait.
    """
    pending: list[tuple[NodeRef | None, NodeRef, int]] = [(old, new, 0)]
    while pending:
        before, now, depth = pending.pop()
        check_depth(depth)
        below: list[tuple[NodeRef | None, NodeRef, int]] = []
        known: dict[bytes, NodeRef] | None = None
        leaves, older = _levels(before, now, load_old, load_new, first)
        for node in leaves:
            yield node
            if isinstance(node, IndexNode):
                continue
            for name, ref in node.directories():
                if known is None:
                    known = dict(_directories(older, load_old))
                at = known.get(name)
                if at is None or place_of(at) != place_of(ref):
                    below.append((at, ref, depth + 1))
        pending += reversed(below)


def _levels(
    old: NodeRef | None, new: NodeRef, load_old: LoadNode, load_new: LoadNode, first: Callable[[NodeRef], bool]
) -> tuple[Iterator[Node], list[NodeRef]]:
    """Return the nodes of a directory that are new, and references to what of the old one may stand against its leaves.

    The references are there once the first leaf has come.
    """
    older: list[NodeRef] = [old] if old is not None else []

    def walk() -> Iterator[Node]:
        newer: Sequence[NodeRef] = [new]
        while newer:
            newer = _without_common(older, newer)
            children: list[NodeRef] = []
            level: int | None = None
            for ref in newer:
                if not first(ref):
                    continue
                node = load_new(ref)
                if level is None:
                    level = node.level
                    _descend(older, level, load_old)
                yield node
                if isinstance(node, IndexNode):
                    children += node.children
            if level:
                _descend(older, level - 1, load_old)
            newer = children

    return walk(), older


def _without_common(older: list[NodeRef], newer: Sequence[NodeRef]) -> list[NodeRef]:
    """Drop from both what both have at one place."""
    common = {place_of(ref) for ref in older} & {place_of(ref) for ref in newer}
    older[:] = [ref for ref in older if place_of(ref) not in common]
    return [ref for ref in newer if place_of(ref) not in common]


def _descend(older: list[NodeRef], level: int, load: LoadNode) -> None:
    """Take the old directory down to a level; it stays where it is, if it does not reach so high."""
    while older:
        node = load(older[0])  # all of them are of one level
        if not isinstance(node, IndexNode) or node.level <= level:
            return
        older[:] = [child for ref in older for child in _children(load(ref))]


def _children(node: Node) -> list[NodeRef]:
    return node.children if isinstance(node, IndexNode) else []


def _directories(older: list[NodeRef], load: LoadNode) -> Iterator[tuple[bytes, NodeRef]]:
    for ref in older:
        node = load(ref)
        if isinstance(node, Leaf):
            yield from node.directories()
