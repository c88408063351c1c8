"""What the reads so far say of those to come, for small files: decisions only, no I/O, no clock.

Three readers, told apart by what they miss:
- one that takes a *sample*, here and there: besides the file, a miss brings what follows it in tree order, up to
  AMPLIFICATION bytes for each byte that was wanted. Never more: that much is lost if nothing of it is read.
- one that goes through a *directory* in order: what lies ahead is fetched in the background, in windows that double
  up to RUN_MOST; the next one is asked for when half of the last one is used up.
- one that reads *everything* in any order, an epoch of training: known by the number of files it has missed. Then
  all that is not there yet is fetched in tree order, in large requests, if the cache can hold it. If it cannot, a
  miss brings the file alone: neighbours would push out what is there and be gone themselves before their turn
  (a cache of half the data then fetched 3.7 bytes for each that was read).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Evidence", "MissPlan"]

AMPLIFICATION = 8
SAMPLE_MOST = 1 << 20
"""Bytes that a miss brings at the most while nothing says that more will be read."""
RUN_FIRST = 64 << 10
RUN_MOST = 8 << 20
_NEAR = 32
"""A file this many entries behind the last one still goes on in order: directories and skipped files lie between."""
_SHORTEST_RUN = 3
EPOCH_FILES = 64
EPOCH_SHARE = 0.0102
"""An epoch is known by so many missed files, and by such a share of all entries: just above a sample of 1 %."""


@dataclass(frozen=True, slots=True)
class MissPlan:
    """What a miss brings: `length` bytes of files from the missed one on; with `everything`, all else from now on."""

    length: int
    everything: bool = False


class Evidence:
    """The reads of one mount. `entries` is how many entries the tree has; `fits` whether the cache can hold it all."""

    def __init__(self, entries: int, *, fits: bool) -> None:
        self._threshold = max(EPOCH_FILES, round(entries * EPOCH_SHARE))
        self._fits = fits
        self._wanted = 0
        self._brought = 0
        self._missed = 0
        self._last = -1
        self._run = 0
        self._window = 0
        self._next = -1
        self._everything = False

    def open(self, inode: int) -> int:
        """Take note that a file begins to be read; return how many bytes to fetch ahead now, 0 for none.

        Whoever fetches them says by `ahead` how far that reaches.
        """
        if 0 < inode - self._last <= _NEAR:
            self._run += 1
        elif inode != self._last:
            self._run = self._window = 0
            self._next = -1
        self._last = inode
        if self._run < _SHORTEST_RUN or inode < self._next or self._everything:
            return 0
        self._window = min(self._window * 2, RUN_MOST) if self._window else RUN_FIRST
        return self._window

    def ahead(self, middle: int) -> None:
        """Take note of the entry behind which the next window is due."""
        self._next = middle

    def miss(self, size: int) -> MissPlan:
        """Decide what a miss of a file of `size` bytes brings."""
        self._wanted += size
        self._missed += 1
        length = min(max(AMPLIFICATION * self._wanted - self._brought, 0), SAMPLE_MOST)
        if self._missed >= self._threshold and not self._fits:
            length = 0
        everything = self._fits and not self._everything and self._missed >= self._threshold
        self._everything = self._everything or everything
        return MissPlan(max(size, length), everything)

    def brought(self, length: int) -> None:
        """Take note of bytes that were asked of the store for a miss."""
        self._brought += length
