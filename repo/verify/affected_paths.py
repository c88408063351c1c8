"""Which paths a damage affects, in a tree that names equal directories any number of times.

Each node is looked into once, and what its damages affect below it is counted; a node that is met again counts the
same again. Then the first paths of each damage are found, by going only where something is affected. So a tree of a
few nodes with more paths than anybody can list takes no longer than its nodes do.

Memory: the nodes that lead to something damaged, and one path of nodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from penstock.manifest.descend import LoadNode, check_depth, open_child
from penstock.manifest.entry import DocumentRef, NodeRef, TreeEntry, display_path
from penstock.manifest.node import IndexNode, Leaf, Node
from penstock.repo.bucket.disk_sets import Marks
from penstock.repo.gc.mark import place_of

from .damage import SHOWN_PATHS, Damage
from .tree_walk import UNREADABLE, Path, Unreadable

__all__ = ["name_affected"]

Hits = Callable[[TreeEntry], Iterable[Damage]]
"""Returns the damages that a file, or an entry whose metadata is a document, suffers from."""
Broken = Callable[[NodeRef, Unreadable], Damage]
"""Returns the damage that keeps a node from being read."""
_Counts = Counter[str]
"""By the address of what is damaged, how many entries it affects."""


class _Place(NamedTuple):
    """A node in its directory: below which index node, and as which of its children."""

    path: Path
    ref: NodeRef
    parent: IndexNode | None = None
    at: int = 0
    low: bytes = b""


class _Open:
    """A node that is being looked into: what is counted so far, and what is still to be added to it."""

    __slots__ = ("below", "counts", "place")

    def __init__(self, place: _Place, counts: _Counts, below: Iterator[_Place]) -> None:
        self.place = place
        self.counts = counts
        self.below = below


def name_affected(root: NodeRef, load: LoadNode, marks: Marks, hits: Hits, broken: Broken) -> None:
    """Note in each damage how many entries it affects, and the first paths. `marks` is used for visits."""
    search = _Search(load, marks, hits, broken)
    counts = search.count(_Place((), root))
    for address, count in counts.items():
        search.damages[address].affected = count
    search.list_paths(_Place((), root))


class _Search:
    def __init__(self, load: LoadNode, marks: Marks, hits: Hits, broken: Broken) -> None:
        self._load = load
        self._marks = marks
        self._hits = hits
        self._broken = broken
        self._known: dict[bytes, _Counts] = {}
        self.damages: dict[str, Damage] = {}

    def count(self, top: _Place) -> _Counts:
        """Count what is affected at and below a node."""
        self._marks.forget_visits()
        stack = [self._open(top)]
        while True:
            current = stack[-1]
            for place in current.below:
                if self._marks.visit(place_of(place.ref)):
                    stack.append(self._open(place))
                    break
                current.counts.update(self._known.get(place_of(place.ref), ()))
            else:
                stack.pop()
                if current.counts:
                    self._known[place_of(current.place.ref)] = current.counts
                if not stack:
                    return current.counts
                stack[-1].counts.update(current.counts)

    def _open(self, place: _Place) -> _Open:
        try:
            node, low = self._node(place)
        except UNREADABLE as error:
            return _Open(place, Counter({self._note(self._broken(place.ref, error)): place.ref.entries}), iter(()))
        counts: _Counts = Counter()
        if isinstance(node, Leaf):
            for entry in _files(node):
                counts.update(self._note(damage) for damage in self._hits(entry))
        return _Open(place, counts, _below(place, node, low))

    def _note(self, damage: Damage) -> str:
        self.damages[damage.address] = damage
        return damage.address

    def _node(self, place: _Place) -> tuple[Node, bytes]:
        check_depth(len(place.path))
        if place.parent is None:
            return self._load(place.ref), b""
        return open_child(place.parent, place.at, place.low, self._load)

    def list_paths(self, top: _Place) -> None:
        """Name the first paths that each damage affects; those in a directory before those further below."""
        pending = [top]
        while pending:
            place = pending.pop()
            # Where one of them is counted there is a path of it to be named, so that no step is in vain.
            if all(self._is_full(self.damages[address]) for address in self._known.get(place_of(place.ref), ())):
                continue
            try:
                node, low = self._node(place)
            except UNREADABLE as error:
                self._name(self._broken(place.ref, error), display_path(place.path) + "/")
                continue
            if isinstance(node, Leaf):
                for entry in _files(node):
                    for damage in self._hits(entry):
                        self._name(damage, display_path((*place.path, entry.name)))
            pending += reversed(list(_below(place, node, low)))

    def _is_full(self, damage: Damage) -> bool:
        return len(damage.paths) >= SHOWN_PATHS

    def _name(self, damage: Damage, path: str) -> None:
        if not self._is_full(damage):
            damage.paths.append(path)


def _files(leaf: Leaf) -> Iterator[TreeEntry]:
    entries = map(leaf.entry, range(len(leaf)))
    return (entry for entry in entries if entry.extents or isinstance(entry.metadata, DocumentRef))


def _below(place: _Place, node: Node, low: bytes) -> Iterator[_Place]:
    if isinstance(node, IndexNode):
        return (_Place(place.path, ref, node, at, low) for at, ref in enumerate(node.children))
    return (_Place((*place.path, name), ref) for name, ref in node.directories())
