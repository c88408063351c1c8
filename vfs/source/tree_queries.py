"""Questions about a tree, asked of nodes in memory first; what is missing is loaded in a thread, and asked again.

It belongs to one event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

import trio

from penstock.manifest.entry import NodeRef
from penstock.manifest.node import Node
from penstock.manifest.tree import LoadNode, NodeMissing

from .single_flight import SingleFlight
from .source import Source
from .workers import Workers

__all__ = ["TreeQueries"]

_T = TypeVar("_T")


class TreeQueries:
    """Asks questions of the nodes of `source`. A node is loaded once for all who want it."""

    def __init__(self, source: Source, nursery: trio.Nursery, workers: Workers) -> None:
        self._source = source
        self._nodes: SingleFlight[Hashable, Node] = SingleFlight(nursery, workers)

    async def ask(self, question: Callable[[LoadNode], _T]) -> _T:
        """Return the answer to a question that is asked with a callable for nodes, and may be asked several times."""
        try:
            return question(self._source.peek)
        except NodeMissing as missing:
            ref = missing.ref
        # What was loaded for this question is held until it is answered: memory may be too small to keep it all.
        held: dict[Hashable, Node] = {}

        def look(wanted: NodeRef) -> Node:
            node = held.get(wanted.identity)
            return node if node is not None else self._source.peek(wanted)

        while True:
            held[ref.identity] = await self.load(ref)
            try:
                return question(look)
            except NodeMissing as missing:
                ref = missing.ref

    async def load(self, ref: NodeRef) -> Node:
        """Return a node from wherever it is."""
        identity = ref.identity
        flight = self._nodes.join(identity)
        if flight is None:
            flight = self._nodes.start([identity], lambda: [self._source.load(ref)])
        return await flight.wait(identity)
