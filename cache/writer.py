"""Where blocks are written: the active segment of this process, and the room for the next one.

**Invariant:** a segment is created only under the layout lock, after evicting until all segments there are, with
the new one at its full size, stay within this process's bound. A segment that another live process appends to is
never evicted: its flock says so.
"""

from __future__ import annotations

import os
from random import Random

from penstock.store.base import Buffer

from .cache_directory import CacheDirectory, Clock, SegmentFile
from .eviction import Candidate, choose_victim
from .index import BlockIndex, RecordLocation
from .layout import SpaceBudget
from .mapping import SegmentMaps
from .record import BlockRecord
from .segment import ActiveSegment, read_records

__all__ = ["SegmentWriter"]


class SegmentWriter:
    """Appends blocks for one process. Its callers hold the cache's lock. OSError when the disk refuses."""

    def __init__(
        self, directory: CacheDirectory, index: BlockIndex, maps: SegmentMaps, clock: Clock, budget: SpaceBudget
    ) -> None:
        self._directory = directory
        self._index = index
        self._maps = maps
        self._clock = clock
        self._budget = budget
        self._random = Random()
        self._active: ActiveSegment | None = None

    def ready(self, length: int) -> bool:
        """Whether a block of `length` bytes can be appended without a new segment."""
        return self._active is not None and self._active.linked() and self._has_room(self._active, length)

    def append(self, key: bytes, data: Buffer) -> RecordLocation:
        """Write a block for which the writer is `ready`."""
        assert self._active is not None
        return RecordLocation(self._active.number, self._active.append(key, data), len(data))

    def reserve(self, length: int) -> bool:
        """Make ready for a block of `length` bytes; False when nothing can be evicted for it."""
        with self._directory.layout():
            if self._active is not None:
                self._retire(self._active)
                self._active = None
            segments, adopted = self._adopt(self._directory.segments(), length)
            size = self._budget.segment_bytes
            fits, evicted = self._make_room(segments, [] if adopted else [size])
            newest = segments[-1].number if segments else 0
            if fits and adopted is None:
                number = self._clock.next(newest)
                self._active = ActiveSegment.create(self._directory.new_segment(number), number, size)
                # Only now: who catches up before would take the new segment for one that is gone.
                self._clock.tick(number)
                return True
            if evicted:
                self._clock.tick(self._clock.next(newest))
            if adopted is not None and not fits:
                adopted.close()
                return False
            self._active = adopted
            return fits

    def evict_one(self) -> bool:
        """Evict a segment, if need be our own, because the index has no room; False when there is none."""
        with self._directory.layout():
            segments = self._directory.segments()
            victim = self._choose(segments)
            if victim is None and self._active is not None:
                self._retire(self._active)
                self._active = None
                segments = self._directory.segments()
                victim = self._choose(segments)
            if victim is not None:
                self._evict(victim)
                self._clock.tick(self._clock.next(segments[-1].number))
            return victim is not None

    def close(self) -> None:
        """Leave the active segment to whoever adopts it."""
        if self._active is not None:
            self._active.close()
            self._active = None

    def _has_room(self, segment: ActiveSegment, length: int) -> bool:
        return segment.count < self._budget.most_records and segment.fits(length)

    def _retire(self, segment: ActiveSegment) -> str | None:
        """Seal a segment and let go of it; return its path, or None when somebody unlinked it."""
        path = None
        if segment.linked():
            segment.write_table()
            path = self._directory.mark_sealed(segment.number)
        segment.close()
        return path

    def _adopt(self, segments: list[SegmentFile], length: int) -> tuple[list[SegmentFile], ActiveSegment | None]:
        """Take over a segment that a process left unfinished; seal those that have no room for the block.

        Short-lived processes would else leave a nearly empty segment each, and the bound counts them in full.
        """
        left: list[SegmentFile] = []
        mine: ActiveSegment | None = None
        for segment in segments:
            left.append(segment)
            if segment.sealed or mine is not None:
                continue
            try:
                adopted = ActiveSegment.adopt(segment.path)
            except BlockingIOError:
                continue
            if adopted is None or adopted[0].number != segment.number:
                os.unlink(segment.path)
                left.pop()
                continue
            active, records = adopted
            if not self._has_room(active, length):
                sealed = self._retire(active)
                left.pop()
                if sealed is not None:
                    left.append(segment._replace(path=sealed, sealed=True))
                continue
            mine = active
            # Its last writer may have been killed between the segment and the index.
            self._index.insert([(key, RecordLocation(segment.number, *where)) for key, *where in records])
        return left, mine

    def _make_room(self, segments: list[SegmentFile], more: list[int]) -> tuple[bool, bool]:
        """Evict until `segments` and those of sizes `more` are within the bound: (whether they are, evicted any)."""
        left = list(segments)
        while not self._budget.admits([segment.size for segment in left] + more):
            victim = self._choose(left)
            if victim is None:
                return False, len(left) < len(segments)
            self._evict(victim)
            left.remove(victim)
        return True, len(left) < len(segments)

    def _choose(self, segments: list[SegmentFile]) -> SegmentFile | None:
        sealed = {segment.number: segment for segment in segments if segment.sealed}
        if not sealed:
            return None
        hits = self._index.hits(list(sealed))
        candidates = [Candidate(number, hits.get(number)) for number in sealed]
        return sealed[choose_victim(candidates, self._clock.cell[0], self._random).number]

    def _evict(self, segment: SegmentFile) -> None:
        """Forget a segment, then unlink it: a crash between leaves bytes to evict again, not records of nothing."""
        self._index.forget_segment(segment.number, self._records(segment.number))
        self._maps.drop(segment.number)
        os.unlink(segment.path)

    def _records(self, number: int) -> list[BlockRecord]:
        descriptor = self._directory.open_segment(number)
        if descriptor is None:
            return []
        try:
            return read_records(descriptor)
        finally:
            os.close(descriptor)
