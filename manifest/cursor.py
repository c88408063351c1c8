"""Walk one directory's nodes in order, opening only those that must be looked into."""

from __future__ import annotations

from .descend import LoadNode, open_child
from .entry import NodeRef, TreeEntry
from .node import IndexNode, Leaf, Node

__all__ = ["Cursor"]


class Cursor:
    """Stands at an entry, or at a node not opened yet; `None` for the directory means one that is empty.

    Invariant: unless `done`, the top of the stack has a current item.
    """

    def __init__(self, directory: NodeRef | None, load: LoadNode) -> None:
        self._load = load
        self._stack: list[tuple[Node, int, bytes]] = []  # a node, the item in it, the name that all of it sorts after
        if directory is not None:
            node = load(directory)
            if len(node):
                self._stack.append((node, 0, b""))

    @property
    def done(self) -> bool:
        """Whether there is nothing left."""
        return not self._stack

    @property
    def level(self) -> int:
        """Level of the node it stands at; -1 when it stands at an entry."""
        return self._stack[-1][0].level - 1

    @property
    def leaf(self) -> tuple[Leaf, int]:
        """The leaf and the index in it, when it stands at an entry."""
        node, at, _ = self._stack[-1]
        assert isinstance(node, Leaf)
        return node, at

    @property
    def name(self) -> bytes:
        """Name of the entry it stands at."""
        leaf, at = self.leaf
        return leaf.names[at]

    @property
    def entry(self) -> TreeEntry:
        """The entry it stands at."""
        leaf, at = self.leaf
        return leaf.entry(at)

    @property
    def node(self) -> tuple[bytes, NodeRef]:
        """The last name of the node it stands at, and the reference to it."""
        node, at, _ = self._stack[-1]
        assert isinstance(node, IndexNode)
        return node.lasts[at], node.children[at]

    @property
    def rightmost(self) -> bool:
        """Whether nothing of the directory follows the item it stands at."""
        return all(at == len(node) - 1 for node, at, _ in self._stack)

    def open(self) -> None:
        """Go into the node it stands at."""
        parent, at, low = self._stack[-1]
        assert isinstance(parent, IndexNode)
        node, low = open_child(parent, at, low, self._load)
        self._stack.append((node, 0, low))

    def advance(self, count: int = 1) -> None:
        """Go past the item it stands at, or so many items of its node."""
        while self._stack:
            node, at, low = self._stack.pop()
            if at + count < len(node):
                self._stack.append((node, at + count, low))
                return
            count = 1
