"""Which files readers waited for longest: what `penstock top` shows. Used from the event loop's thread only.

A read that the cache answers takes microseconds and is never noted, so that this costs two looks at a clock a read.
Bounded: of more files than `_MOST` those that were waited for least are forgotten.
"""

from __future__ import annotations

__all__ = ["SLOW", "SlowReads"]

SLOW = 0.01
"""Seconds from which on a read was waited for."""
_MOST = 1024


class SlowReads:
    """Seconds by inode since the mount was made, or since this process serves it."""

    def __init__(self) -> None:
        self._waited: dict[int, float] = {}

    def note(self, inode: int, seconds: float) -> None:
        """Add what a reader of a file has waited."""
        waited = self._waited
        waited[inode] = waited.get(inode, 0.0) + seconds
        if len(waited) > _MOST:
            kept = sorted(waited, key=waited.__getitem__, reverse=True)[: _MOST // 2]
            self._waited = {each: waited[each] for each in kept}

    def slowest(self, count: int) -> list[tuple[int, float]]:
        """Return inodes and their seconds, the longest first."""
        return sorted(self._waited.items(), key=lambda item: item[1], reverse=True)[:count]
