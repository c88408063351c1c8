"""Whether a tree holds a content anywhere: many trees, of which each node is looked at once. One thread."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.manifest.descend import LoadNode
from penstock.manifest.entry import Kind, NodeRef
from penstock.manifest.node import IndexNode, Node

__all__ = ["ContentSearch"]


class ContentSearch:
    """Looks for files with one hash. What versions have in common is looked at in the first of them alone."""

    def __init__(self, wanted: bytes, load: LoadNode) -> None:
        self._wanted = wanted
        self._load = load
        self._with: set[bytes] = set()
        self._without: set[bytes] = set()

    def is_in(self, root: NodeRef) -> bool:
        """Whether a file below this node has the content."""
        top = iter((root,))
        stack: list[tuple[bytes, Iterator[NodeRef]]] = [(b"", top)]
        while stack:
            for ref in stack[-1][1]:
                if ref.hash in self._without:
                    continue
                node = self._load(ref) if ref.hash not in self._with else None
                if node is None or self._holds(node):
                    self._with.update(found for found, _ in stack if found)
                    self._with.add(ref.hash)
                    return True
                stack.append((ref.hash, self._below(node)))
                break
            else:
                self._without.add(stack.pop()[0])
        return False

    def _holds(self, node: Node) -> bool:
        if isinstance(node, IndexNode):
            return False
        return any(digest == self._wanted and kind <= Kind.EXECUTABLE for _, kind, _, digest in node.facts())

    def _below(self, node: Node) -> Iterator[NodeRef]:
        if isinstance(node, IndexNode):
            return iter(node.children)
        return (ref for _, ref in node.directories() if ref.entries)
