"""Gather blocks into regions: what lies close together in one object, and is wanted, becomes one ranged GET. Pure.

Files that were pushed together lie in a pack in tree order, so blocks gathered in tree order make long regions.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from penstock.lru import Lru
from penstock.manifest.entry import BLOCK_SIZE, External, TreeEntry, block_count
from penstock.manifest.extents import cut_extents

from .regions import Region, RegionPiece

__all__ = ["RegionPlanner", "pieces_of", "place_order", "widest_gap"]

GAP = 32 << 10
"""Bytes fetched and thrown away rather than making two requests: 0.3 ms at 100 MB/s, where a request costs 25."""

_OPEN = 8
_REMEMBERED = 65536


def pieces_of(
    entry: TreeEntry, block_hash: Callable[[TreeEntry, int], bytes], blocks: range | None = None
) -> Iterator[tuple[bytes | External, RegionPiece]]:
    """Yield the blocks of a file, or some, with the object that each lies in; not those that lie in several places."""
    if blocks is None:
        blocks = range(block_count(entry.size))
    if entry.size <= BLOCK_SIZE:
        if blocks and len(entry.extents) == 1:
            extent = entry.extents[0]
            yield extent.object, RegionPiece(block_hash(entry, 0), extent.offset, extent.length)
        return
    for index in blocks:
        start = index * BLOCK_SIZE
        length = min(BLOCK_SIZE, entry.size - start)
        parts = cut_extents(entry.extents, start, length)
        if len(parts) == 1:
            yield parts[0].object, RegionPiece(block_hash(entry, index), parts[0].offset, length)


def place_order(place: tuple[bytes | External, RegionPiece]) -> tuple[str, bytes, int]:
    """Return what to sort blocks by so that those that are neighbours in an object follow each other."""
    found, piece = place
    return ("", found, piece.offset) if isinstance(found, bytes) else (found.uri, b"", piece.offset)


def widest_gap(places: Sequence[tuple[bytes | External, RegionPiece]], allowed: int) -> int:
    """Return how large a gap between some blocks may be fetched with them, so that `allowed` bytes are wasted at most.

    The blocks are in order of their places. Small gaps come first: each of them saves one request as well.
    """
    gaps = []
    for (before, first), (found, second) in pairwise(places):
        gap = second.offset - first.offset - first.length
        if found == before and 0 < gap <= GAP:
            gaps.append(gap)
    widest = 0
    for gap in sorted(gaps):
        allowed -= gap
        if allowed < 0:
            break
        widest = gap
    return widest


class RegionPlanner:
    """Takes blocks, best in tree order; makes regions of up to `most` bytes of those that follow each other.

    Several regions are open at once: files that were pushed at different times, or that have the same content as one
    elsewhere, make tree order jump between objects. A block is taken once, as far as is remembered. Blocks with up to
    `gap` bytes between them still follow each other.
    """

    def __init__(self, most: int, gap: int = GAP) -> None:
        self._most = most
        self.gap = gap
        self._open: OrderedDict[bytes | External, list[RegionPiece]] = OrderedDict()
        self._seen: Lru[bytes, None] = Lru(_REMEMBERED)

    def add(self, found: bytes | External, piece: RegionPiece) -> Region | None:
        """Take a block; return the region that ends by that, if one does."""
        if piece.digest in self._seen:
            return None
        self._seen.put(piece.digest, None)
        pieces = self._open.get(found)
        if pieces is not None:
            self._open.move_to_end(found)
            end = pieces[-1].offset + pieces[-1].length
            if end <= piece.offset <= end + self.gap and piece.offset + piece.length - pieces[0].offset <= self._most:
                pieces.append(piece)
                return None
            self._open[found] = [piece]
            return Region(found, tuple(pieces))
        self._open[found] = [piece]
        if len(self._open) <= _OPEN:
            return None
        oldest, pieces = self._open.popitem(last=False)
        return Region(oldest, tuple(pieces))

    def flush(self) -> list[Region]:
        """Return the regions that are open, and begin anew."""
        regions = [Region(found, tuple(pieces)) for found, pieces in self._open.items()]
        self._open.clear()
        return regions
