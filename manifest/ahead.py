"""Load what a comparison of two trees will open, many nodes at a time. Pure: nodes come from a callable.

A comparison opens one node after the other, and each costs a round trip to a bucket. But which ones it will open is
known level by level: those that one tree has in a directory and the other has not. Loading these together first, into
whatever memory the comparison's own loader has, makes its time a few round trips. A hint: what is loaded here in
vain, or not at all, changes no result.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from .entry import MAX_DEPTH, NodeRef
from .node import IndexNode, Leaf, Node

__all__ = ["MOST_AHEAD", "LoadNodes", "load_ahead"]

LoadNodes = Callable[[Sequence[NodeRef]], list[Node]]
"""Returns the nodes of these references, in their order."""

MOST_AHEAD = 1024
"""Nodes of one level that are loaded together; where more differ, the comparison finds its own way."""

_Level = dict[tuple[bytes, ...], list[NodeRef]]
"""By directory, the nodes of it that the other tree has not."""


def load_ahead(old: NodeRef | None, new: NodeRef | None, load_old: LoadNodes, load_new: LoadNodes) -> None:
    """Load the nodes of both trees that differ, down to the files. Of a directory that only one tree has, none."""
    if old is None or new is None or old.hash == new.hash:
        return
    levels: tuple[_Level, _Level] = ({(): [old]}, {(): [new]})
    for _ in range(2 * MAX_DEPTH):
        if not any(levels) or any(sum(map(len, level.values())) > MOST_AHEAD for level in levels):
            return
        levels = _differing(_below(levels[0], load_old), _below(levels[1], load_new))


def _below(level: _Level, load: LoadNodes) -> _Level:
    """Load a level; return the nodes below it."""
    below: _Level = defaultdict(list)
    places = [(path, ref) for path, refs in level.items() for ref in refs]
    for (path, _), node in zip(places, load([ref for _, ref in places]), strict=True):
        if isinstance(node, IndexNode):
            below[path] += node.children
        else:
            _add_directories(below, path, node)
    return below


def _add_directories(below: _Level, path: tuple[bytes, ...], leaf: Leaf) -> None:
    for at, name in enumerate(leaf.names):
        ref = leaf.directory(at)
        if ref is not None:
            below[(*path, name)].append(ref)


def _differing(old: _Level, new: _Level) -> tuple[_Level, _Level]:
    """Leave only directories that are in both, and of them what the other has not."""
    kept: tuple[_Level, _Level] = ({}, {})
    for path in old.keys() & new.keys():
        known = [{ref.hash for ref in level[path]} for level in (old, new)]
        for mine, level, others in ((kept[0], old, known[1]), (kept[1], new, known[0])):
            refs = [ref for ref in level[path] if ref.hash not in others]
            if refs:
                mine[path] = refs
    return kept
