"""What waits for the pack that its content lies in: a pack's hash, which entries need, is known when it is full.

A tree is made in order, so what comes after an entry that waits has to wait as well. **Invariant:** all that waits,
waits for the one pack that is being filled. One thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from penstock.manifest.entry import Extents

from .data_pack import DataPack

__all__ = ["PackQueue"]

T = TypeVar("T")

_MOST_WAITING = 65536


class PackQueue(Generic[T]):
    """Items in order, each with the extents of its content. Who puts one in takes out what is `ready` after it."""

    def __init__(self, pack: DataPack) -> None:
        self._pack = pack
        self._waiting: deque[tuple[T, Extents]] = deque()
        self._waits_for = -1  # the number of the pack that the first of them waits for

    def put(self, item: T, extents: Extents = ()) -> None:
        """Add the next item. Too many of them end the pack, which is sent."""
        self._waiting.append((item, extents))
        if len(self._waiting) >= _MOST_WAITING:
            self._pack.seal()

    def straight(self, extents: Extents) -> Extents | None:
        """Return extents where they really are, when the next item with them need not wait; None: `put` it in."""
        if self._waiting:
            return None
        return self._pack.placed(extents) if extents else extents

    @property
    def is_ready(self) -> bool:
        """Whether something may wait no more: cheaper to ask than to begin with `ready`."""
        return bool(self._waiting) and self._waits_for != self._pack.sealed

    def ready(self) -> Iterator[tuple[T, Extents]]:
        """Yield what waits no more, in order, with its extents where they really are."""
        while self._waiting and self._waits_for != self._pack.sealed:
            item, extents = self._waiting[0]
            placed = self._pack.placed(extents) if extents else extents
            if placed is None:
                self._waits_for = self._pack.sealed
                return
            self._waiting.popleft()
            yield item, placed

    def rest(self) -> Iterator[tuple[T, Extents]]:
        """End the pack, and yield all that is left."""
        self._pack.seal()
        yield from self.ready()
