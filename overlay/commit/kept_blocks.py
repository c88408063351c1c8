"""Blocks that a commit has read go into the block cache: once it has landed, the overlay lets go of its own copy.

Without that, who reads again what was just written waits for the store, file by file. At most half of the cache is
filled so; the rest of a large commit is fetched when it is read. A cache that cannot take a block is no failure.

It belongs to the thread of the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["KeptBlocks"]

_BLOCKS = 128
_BYTES = 4 << 20
"""How many blocks, or bytes, are put together into the cache: a transaction of its index costs as much as a block."""


class KeptBlocks:
    """Gathers blocks by hash; `put` takes them to the cache, `most_bytes` in all. One thread."""

    def __init__(self, put: Callable[[Sequence[tuple[bytes, bytes]]], None], most_bytes: int) -> None:
        self._put = put
        self._left = most_bytes
        self._blocks: dict[bytes, bytes] = {}
        self._held = 0

    def add(self, digest: bytes, block: bytes) -> None:
        """Take a block, and its hash."""
        if digest in self._blocks or len(block) > self._left:
            return
        self._left -= len(block)
        self._held += len(block)
        self._blocks[digest] = block
        if len(self._blocks) >= _BLOCKS or self._held >= _BYTES:
            self.flush()

    def flush(self) -> None:
        """Have the cache take what was gathered."""
        if self._blocks:
            self._put(list(self._blocks.items()))
            self._blocks = {}
            self._held = 0
