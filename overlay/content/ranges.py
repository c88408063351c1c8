"""Which bytes of a data file are content: half-open intervals, kept in RANGES. Pure: changes are returned, not made.

**Invariant:** intervals of one data file are disjoint and do not adjoin. Each question costs as many look-ups as there
are intervals in it, and one: nothing is held in memory, so a file of a million intervals costs no more than one of ten.

The changes returned must be in the tables before the next question about the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from penstock.manifest.entry import MAX_SIZE
from penstock.overlay.tables.interface import ReadTables
from penstock.overlay.tables.schema import RANGES, TableChange, range_key

__all__ = ["Ranges"]

_END = struct.Struct(">Q")
_START_BYTES = 8


class Ranges:
    """The intervals of the data file (`inode`, `generation`). Offsets are bytes, ends exclusive."""

    __slots__ = ("_generation", "_inode", "_tables")

    def __init__(self, tables: ReadTables, inode: int, generation: int) -> None:
        self._tables = tables
        self._inode = inode
        self._generation = generation

    def cover(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the parts of [start, end) that are content, in order."""
        parts: list[tuple[int, int]] = []
        at = end - 1
        while at >= start and (found := self._at_or_below(at)) is not None:
            first, last = found
            if last <= start:
                break
            parts.append((max(first, start), min(last, end)))
            at = first - 1
        parts.reverse()
        return parts

    def every(self) -> Iterator[tuple[int, int]]:
        """Yield all intervals, in order."""
        for key, value in self._tables.scan(RANGES, b"", self._key(0)[:-_START_BYTES]):
            yield _END.unpack(key[-_START_BYTES:])[0], _END.unpack(value)[0]

    def first(self, start: int, end: int) -> list[TableChange]:
        """Return the changes after which [start, end), not empty, is content, where nothing was."""
        return [self._put(start, end)]

    def add(self, start: int, end: int) -> list[TableChange]:
        """Return the changes after which [start, end), not empty, is content too."""
        first, last, at = start, end, end
        absorbed: list[int] = []
        while at >= 0 and (found := self._at_or_below(at)) is not None:
            if found[1] < start:
                break
            if found[0] <= start and end <= found[1]:
                return []
            first, last = min(first, found[0]), max(last, found[1])
            absorbed.append(found[0])
            at = found[0] - 1
        changes = [self._removed(at) for at in absorbed if at != first]
        changes.append(self._put(first, last))
        return changes

    def cut(self, at: int) -> list[TableChange]:
        """Return the changes after which nothing from `at` on is content."""
        changes = [
            TableChange(RANGES, key, None)
            for key, _ in self._tables.scan(RANGES, self._key(at), self._key(0)[:-_START_BYTES])
        ]
        below = self._at_or_below(at - 1) if at else None
        if below is not None and below[1] > at:
            changes.append(self._put(below[0], at))
        return changes

    def replace(self, intervals: list[tuple[int, int]]) -> list[TableChange]:
        """Return the changes after which exactly these are content: in order, disjoint, not adjoining."""
        before = dict(self.cover(0, MAX_SIZE))
        after = dict(intervals)
        changes = [self._removed(start) for start in before if start not in after]
        changes += [self._put(start, end) for start, end in intervals if before.get(start) != end]
        return changes

    def end(self) -> int:
        """Return where the last interval ends; 0 when there is none."""
        found = self._at_or_below(MAX_SIZE)
        return found[1] if found is not None else 0

    def _at_or_below(self, at: int) -> tuple[int, int] | None:
        """Return the interval with the greatest start that is not above `at`."""
        wanted = self._key(at)
        found = self._tables.floor(RANGES, wanted)
        if found is None or found[0][:-_START_BYTES] != wanted[:-_START_BYTES]:
            return None
        return _END.unpack(found[0][-_START_BYTES:])[0], _END.unpack(found[1])[0]

    def _put(self, start: int, end: int) -> TableChange:
        return TableChange(RANGES, self._key(start), _END.pack(end))

    def _removed(self, start: int) -> TableChange:
        return TableChange(RANGES, self._key(start), None)

    def _key(self, start: int) -> bytes:
        return range_key(self._inode, self._generation, start)
