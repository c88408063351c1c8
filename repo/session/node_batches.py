"""Many nodes at once, when it is known which ones are needed: neighbours by one request, groups side by side.

Blocking, thread-safe.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from penstock.manifest.entry import NodeRef
from penstock.manifest.node import Node

from .nodes import Nodes

__all__ = ["NodeBatches", "neighbours"]

_AT_ONCE = 16
"""Requests at the same time."""
_NEAR = 256 << 10
"""Bytes that nodes may span which one request brings."""
_BELOW = 64 << 10
"""Bytes before them that come along. What is below a node lies before it, so that the next level of a small directory
is there already; of nodes all over a large tree, as in a diff of few changes, half a MiB each was most of the time."""


class NodeBatches:
    """Loads nodes by way of `nodes`; its threads start when they are needed."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        from concurrent.futures import ThreadPoolExecutor  # most sessions load nodes one by one

        self._pool = ThreadPoolExecutor(_AT_ONCE, "penstock-nodes")

    def load(self, refs: Sequence[NodeRef]) -> list[Node]:
        """Return nodes, in the order of their references. Raises as `Nodes.load`."""
        groups = neighbours(refs)
        loaded = self._pool.map(lambda group: self._nodes.load_together([refs[at] for at in group], _BELOW), groups)
        found = dict(zip(chain.from_iterable(groups), chain.from_iterable(loaded), strict=True))
        return [found[at] for at in range(len(refs))]

    def close(self) -> None:
        """Wait for what is on its way, and begin nothing more."""
        self._pool.shutdown(cancel_futures=True)


def neighbours(refs: Sequence[NodeRef]) -> list[list[int]]:
    """Group nodes, by their index, so that one request for the first of a group brings the others along."""
    groups: list[list[int]] = []
    first = None
    for at in sorted(range(len(refs)), key=lambda at: (refs[at].location.pack, refs[at].location.offset)):
        where = refs[at].location
        if first is None or where.pack != first.pack or where.offset + where.length > first.offset + _NEAR:
            groups.append([])
            first = where
        groups[-1].append(at)
    return groups
