"""When to fetch ahead inside one file: decisions only, no I/O.

Evidence is a run of reads that go on where the last one ended (the kernel may deliver two of them in the wrong
order). The window doubles with every block that a run enters, 1, 2, 4, ... blocks, and falls to nothing at a jump:
an isolated random read costs its own blocks only. Fetches are asked for when half of the window is used up, so that
a long run is fetched in pieces of half a window, in as few requests as that allows.
"""

from __future__ import annotations

from penstock.manifest.entry import BLOCK_SIZE

__all__ = ["MAX_WINDOW", "Readahead"]

MAX_WINDOW = 64
"""Blocks: 64 MiB, eight requests of 8 MiB on their way: at 25 ms and 100 MB/s a connection one takes 0.1 s."""
_SLACK = BLOCK_SIZE
"""A read that starts this many bytes before or behind the expected place still continues the run."""


class Readahead:
    """The state of one open file of `blocks` blocks."""

    __slots__ = ("_blocks", "_expected", "_front", "_reach", "_window")

    def __init__(self, blocks: int) -> None:
        self._blocks = blocks
        self._expected = -1  # byte at which the next read of the run would start
        self._front = -1  # last block that the run has read
        self._reach = -1  # last block that was read or asked for in this run
        self._window = 0

    def observe(self, start: int, end: int) -> range:
        """Take note of a read of bytes `start` to `end`; return the blocks to fetch now, besides those read."""
        last = (end - 1) // BLOCK_SIZE
        if self._expected < 0 or not -_SLACK <= start - self._expected <= _SLACK:
            self._window = 0
            self._front = self._reach = last
            self._expected = end
            return range(0)
        if self._window == 0:
            self._window = 1
        elif last > self._front:
            self._window = min(self._window * 2, MAX_WINDOW)
        self._expected = max(self._expected, end)
        self._front = max(self._front, last)
        self._reach = max(self._reach, last)
        if (self._reach - self._front) * 2 > self._window:
            return range(0)
        wanted = range(self._reach + 1, min(self._front + self._window, self._blocks - 1) + 1)
        self._reach = max(self._reach, wanted.stop - 1)
        return wanted
