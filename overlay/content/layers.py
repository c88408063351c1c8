"""Where each byte of a changed file is read from: its data files, newest first, then its version, else zeros. Pure.

A layer is (generation, limit): of what that data file holds, only what lies below the limit may show. A file that is
cut while a commit reads its frozen layers gets lower limits in its record and keeps its data as it is.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import NamedTuple

from penstock.overlay.tables.interface import ReadTables
from penstock.overlay.tables.schema import InodeRecord

from .ranges import Ranges

__all__ = ["LOWER", "ZEROS", "Segment", "segments", "stored"]

LOWER = -1
ZEROS = -2
_PIECES = 512


class Segment(NamedTuple):
    """Bytes [start, end) of a file. `source`: LOWER, ZEROS, or the generation of the data file that has them."""

    start: int
    end: int
    source: int


def segments(tables: ReadTables, inode: int, record: InodeRecord, start: int, end: int) -> list[Segment]:
    """Return what [start, end) of a file consists of, in order, without gaps and never beyond its size."""
    found: list[Segment] = []
    gaps = [(start, min(end, record.size))] if start < min(end, record.size) else []
    for generation, limit in reversed(record.layers):
        if not gaps:
            break
        gaps = _look(Ranges(tables, inode, generation), generation, limit, gaps, found)
    for first, last in gaps:
        if first < record.shown:
            found.append(Segment(first, min(last, record.shown), LOWER))
        if last > record.shown:
            found.append(Segment(max(first, record.shown), last, ZEROS))
    found.sort()
    return _joined(found)


def stored(tables: ReadTables, inode: int, record: InodeRecord) -> int:
    """Return how many bytes of a file are no hole; all of it, when it is in too many pieces for a stat(2)."""
    pieces = chain.from_iterable(Ranges(tables, inode, generation).every() for generation, _ in record.layers)
    if next(islice(pieces, _PIECES, None), None) is not None:
        return record.size
    return sum(end - start for start, end, source in segments(tables, inode, record, 0, record.size) if source != ZEROS)


def _look(
    ranges: Ranges, generation: int, limit: int, gaps: list[tuple[int, int]], found: list[Segment]
) -> list[tuple[int, int]]:
    """Fill gaps from one layer; return the gaps that stay."""
    left: list[tuple[int, int]] = []
    for start, end in gaps:
        at = start
        for first, last in ranges.cover(start, min(end, limit)):
            if first > at:
                left.append((at, first))
            found.append(Segment(first, last, generation))
            at = last
        if at < end:
            left.append((at, end))
    return left


def _joined(parts: list[Segment]) -> list[Segment]:
    joined: list[Segment] = []
    for part in parts:
        if joined and joined[-1].source == part.source and joined[-1].end == part.start:
            joined[-1] = Segment(joined[-1].start, part.end, part.source)
        else:
            joined.append(part)
    return joined
