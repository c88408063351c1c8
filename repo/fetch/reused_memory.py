"""Memory that regions are received into, one after the other: what was used before the kernel need not find anew.

A region's bytes are written to the cache and then not needed any more; in memory of its own each costs a page fault
for every page, a fifth of what receiving it takes. Thread-safe.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["ReusedMemory"]


class ReusedMemory:
    """Pieces of one size, made when they are needed, of which some are kept."""

    def __init__(self, piece_bytes: int, kept: int) -> None:
        """Lend pieces of `piece_bytes`, and keep as many as `kept` while nobody uses them."""
        self._piece_bytes = piece_bytes
        self._most = kept
        self._free: list[mmap.mmap] = []
        self._lock = threading.Lock()

    @contextmanager
    def lent(self, length: int) -> Iterator[memoryview]:
        """Lend `length` bytes until the block ends; nothing may look at them after that. Larger ones are not kept."""
        if length > self._piece_bytes:
            yield memoryview(bytearray(length))
            return
        with self._lock:
            piece = self._free.pop() if self._free else None
        if piece is None:
            piece = mmap.mmap(-1, self._piece_bytes)
        try:
            yield memoryview(piece)[:length]
        finally:
            with self._lock:
                if len(self._free) < self._most:
                    self._free.append(piece)
