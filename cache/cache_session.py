"""All that one `BlockCache` has open in a directory, and what it does with it while the disk answers.

Opened together, and replaced together when the index was. Made, written to and closed under the cache's lock; looked
up without. IndexDamagedError and OSError pass through: `blocks` knows what to do about them. A child process has no
session until it opens its own.
"""

from __future__ import annotations

from collections.abc import Callable

from blake3 import blake3

from .cache_directory import CacheDirectory, Clock
from .index import BlockIndex, RecordLocation, open_index, rebuild_index
from .index_state import IndexState
from .layout import LARGEST_BLOCK, SpaceBudget
from .locking import LockedFile
from .mapping import MappedSegment, SegmentMaps
from .writer import SegmentWriter

__all__ = ["CacheSession", "RecentBlocks"]

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


class CacheSession:
    """The open index, mappings and writer. `seen`: the clock when `alive`, the segments there are, was read."""

    def __init__(
        self,
        directory: CacheDirectory,
        state: IndexState,
        budget: SpaceBudget,
        build: Callable[[CacheDirectory, IndexState, SpaceBudget, Clock], BlockIndex] | None = None,
    ) -> None:
        """Open the index that is there, or the one that `build` makes. OSError when the disk refuses."""
        directory.prepare()
        self._directory = directory
        self._state = state
        with directory.layout():
            self.clock = Clock(directory.clock)
            self._users = LockedFile(directory.users, exclusive=False)
            sole = self._users.upgrade()
            if sole:
                directory.succeed()
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

    def checked(self, key: bytes, at: RecordLocation, *, fresh: bool = False) -> memoryview | None:
        """Return the block at `at` if it is whole; otherwise drop its record, and quarantine it if it is there.

        A `fresh` one is whole if it is there: it was checked before it was written. That it is this block which lies
        there, and not another that a damaged index points to, says the header before it.
        """
        mapped = self.maps.get(at.segment)
        if mapped is None:
            self.index.remove([(key, at)])
            return None
        view = mapped.block(at.offset, at.length)
        fresh = fresh and mapped.names(key, at.offset, at.length)
        if view is None or (not fresh and blake3(view).digest() != key):
            self.recent.discard(key)
            if mapped.view is not None:
                self.index.quarantine(key, at)
            return None
        mapped.hit = True
        self.recent.add(key, mapped, at.offset, at.length)
        return view

    def store(self, blocks: list[tuple[bytes, memoryview]]) -> list[bool] | None:
        """Store blocks that are what their keys say; which are held now, or None when the index was replaced."""
        found = self.index.get_many(key for key, _ in blocks)
        held = [at is not None and at.segment in self.alive for at in found]
        if stale := [
            (key, at)
            for (key, _), at in zip(blocks, found, strict=True)
            if at is not None and at.segment not in self.alive
        ]:
            self.index.remove(stale)
        written: dict[bytes, RecordLocation] = {}
        stored: set[bytes] = set()
        for position, (key, data) in enumerate(blocks):
            if held[position] or key in written or key in stored or not 0 < len(data) <= LARGEST_BLOCK:
                continue
            if not self.writer.ready(len(data)):
                if not self._record(written, stored):
                    return None
                if not self.writer.reserve(len(data)):
                    break
                if not self.catch_up():
                    return None
            written[key] = self.writer.append(key, data)
        if not self._record(written, stored):
            return None
        return [was or key in stored for was, (key, _) in zip(held, blocks, strict=True)]

    def _record(self, written: dict[bytes, RecordLocation], stored: set[bytes]) -> bool:
        """Enter what was written into the index: it moves to `stored`. False when the index was replaced."""
        while not self.index.insert(list(written.items())):
            if not self.writer.evict_one():
                written.clear()
                break
            if not self.catch_up():
                return False
            for key in [key for key, at in written.items() if at.segment not in self.alive]:
                del written[key]
        for key, at in written.items():
            stored.add(key)
            mapped = self.maps.get(at.segment)
            if mapped is not None:
                self.recent.add(key, mapped, at.offset, at.length)
        written.clear()
        return True

    def close(self, *, leave_clean: bool) -> None:
        """Let go of everything; the last user of an index leaves it clean, so that a reboot need not rebuild it."""
        self.writer.close()
        try:
            if leave_clean:
                self._leave_clean()
        finally:
            self.index.close()
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


def rebuilt(directory: CacheDirectory, state: IndexState, budget: SpaceBudget) -> CacheSession:
    """Open a session on an index made anew from the segments."""
    return CacheSession(directory, state, budget, build=rebuild_index)
