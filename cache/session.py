"""All that one `BlockCache` has open in a directory: opened together, replaced together when the index was.

Made and closed under the cache's lock. A child process has none until it opens its own.
"""

from __future__ import annotations

from collections.abc import Callable

from .directory import CacheDirectory, Clock
from .index import BlockIndex, open_index, rebuild_index
from .layout import Budget
from .locking import LockedFile
from .mapping import MappedSegment, SegmentMaps
from .trust import IndexState
from .writer import SegmentWriter

__all__ = ["RecentBlocks", "Session"]

_RECENT = 1 << 14


class RecentBlocks:
    """Blocks that this process has verified, and where they are mapped: the last 16 to 32 thousand of them.

    About 250 bytes each. Forgetting one costs a look into the index and a hash. Two generations, so that dropping
    the older half is one assignment, which needs no lock.
    """

    __slots__ = ("older", "younger")

    def __init__(self) -> None:
        self.younger: dict[bytes, tuple[MappedSegment, int, int]] = {}
        self.older: dict[bytes, tuple[MappedSegment, int, int]] = {}

    def add(self, key: bytes, mapped: MappedSegment, offset: int, length: int) -> None:
        """Remember a verified block."""
        if len(self.younger) >= _RECENT:
            self.older = self.younger
            self.younger = {}
        self.younger[key] = (mapped, offset, offset + length)

    def discard(self, key: bytes) -> None:
        """Forget one block."""
        self.younger.pop(key, None)
        self.older.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        self.younger, self.older = {}, {}


class Session:
    """The open index, mappings and writer. `seen`: the clock when `alive`, the segments there are, was read."""

    def __init__(
        self,
        directory: CacheDirectory,
        state: IndexState,
        budget: Budget,
        build: Callable[[CacheDirectory, IndexState, Budget, Clock], BlockIndex] | None = None,
    ) -> None:
        """Open the index that is there, or the one that `build` makes. OSError when the disk refuses."""
        directory.prepare()
        self._directory = directory
        self._state = state
        with directory.layout():
            self.clock = Clock(directory.clock)
            self._users = LockedFile(directory.users, exclusive=False)
            sole = self._users.upgrade()
            self._users.downgrade()
            if build is None:
                self.index = open_index(directory, state, budget, self.clock, sole=sole)
            else:
                self.index = build(directory, state, budget, self.clock)
        self.maps = SegmentMaps(directory)
        self.recent = RecentBlocks()
        self.writer = SegmentWriter(directory, self.index, self.maps, self.clock, budget)
        self.seen = -1
        self.alive: set[int] = set()
        self.cell = self.clock.cell
        self.catch_up()

    def catch_up(self) -> bool:
        """Take note of what other processes changed. False when the index was replaced: open a new session."""
        # Read the clock first: a change that follows is then seen again rather than missed.
        now = self.cell[0]
        if not self.index.current():
            return False
        self.alive = {segment.number for segment in self._directory.segments()}
        self.maps.keep_only(self.alive)
        if hits := self.maps.take_hits():
            self.index.mark_hits(hits, now)
        self.seen = now
        return True

    def close(self, *, leave_clean: bool) -> None:
        """Let go of everything; the last user of an index leaves it clean, so that a reboot need not rebuild it."""
        self.writer.close()
        try:
            if leave_clean:
                self._leave_clean()
        finally:
            self._users.close()
            self.recent.clear()
            self.maps.keep_only(set())

    def _leave_clean(self) -> None:
        if hits := self.maps.take_hits():
            self.index.mark_hits(hits, self.cell[0])
        with self._directory.layout():
            if self._users.upgrade() and self.index.current():
                self.index.sync()
                self._state.end()


def rebuilt(directory: CacheDirectory, state: IndexState, budget: Budget) -> Session:
    """Open a session on an index made anew from the segments."""
    return Session(directory, state, budget, build=rebuild_index)
