"""Counts of what was asked of a store and of the cache. Thread-safe."""

from __future__ import annotations

import threading
from collections import Counter

__all__ = ["RequestCounts"]


class RequestCounts:
    """Named counts that only grow: gets, bytes_fetched, node_gets, hits, misses, hedges."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter(gets=0, bytes_fetched=0, node_gets=0, hits=0, misses=0, hedges=0)
        self._lock = threading.Lock()

    def add(self, /, **amounts: int) -> None:
        """Add to some of the counts."""
        with self._lock:
            self._counts.update(amounts)

    def snapshot(self) -> dict[str, int]:
        """Return all counts as they stand."""
        with self._lock:
            return dict(self._counts)
