"""How a cache directory is laid out and how its bound is divided. Pure arithmetic and names; no I/O.

    DIRECTORY/                0700, owned by the user
        layout.lock           flock, held for every change of which segments and which index exist
        users.lock            flock, shared by every process that has the index open
        clock                 8 bytes, mapped by all: the number of the newest segment or other layout change
        state-2               JSON: the boot in which the index was last used, and whether it was closed cleanly
        index-2/              LMDB: key -> (segment, offset, length); its data file is locked by who looks or writes
        crashes               what processes wrote that crashed while they used the cache (`crashes`)
        segments/N.open       a segment that is being, or may again be, appended to
        segments/N.sealed     a full segment
        locations/ ...        the environment of `LocationIndex`, with a lock and a state of its own

**Invariant:** segments + index + locations + FIXED_BYTES <= max_bytes, each counted at its largest.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "DEFAULT_BOUND",
    "FIXED_BYTES",
    "INDEX_SLACK_BYTES",
    "LARGEST_BLOCK",
    "SEGMENT_OVERHEAD",
    "SMALLEST_BOUND",
    "SpaceBudget",
]

MIB = 1 << 20
PAGE = 4096

LARGEST_BLOCK = 4 * MIB
"""Bytes of the largest block that a segment can hold."""

SMALLEST_BOUND = 32 * MIB
"""Bytes below which eviction by segment cannot work: six segments and the indexes just fit."""

DEFAULT_BOUND = 50_000_000_000
"""Bytes a cache may use when nobody says otherwise."""

INDEX_SLACK_BYTES = 384 * PAGE
"""What transactions in flight may take in the index beyond the pages in use: three of 32 paths of four pages."""

FIXED_BYTES = 512 * 1024
"""Lock files (reader tables of LMDB), state, clock and directories, rounded up."""

SEGMENT_OVERHEAD = 2 * PAGE
"""What a file system may add to a segment's size in blocks of its own (extent tree, directory entry)."""

_SMALLEST_SEGMENT = LARGEST_BLOCK + 64 * 1024
_USUAL_SEGMENT = 64 * MIB
_LARGEST_SEGMENT = 1024 * MIB
_MOST_SEGMENTS = 1 << 14
_ENTRIES_A_PAGE = 40
_RECORD_BYTES = 128
"""What a block takes in a segment besides its bytes, rounded up: header, alignment, row of the table."""
_SPARE_SEGMENTS = 2


@dataclass(frozen=True, slots=True)
class SpaceBudget:
    """A bound in bytes and its division. All figures are bytes."""

    max_bytes: int
    segment_bytes: int
    segments_bytes: int
    index_bytes: int
    location_bytes: int
    most_records: int
    """Records in a segment, so that the index is full only when there are several segments to choose from."""

    @classmethod
    def of(cls, max_bytes: int) -> SpaceBudget:
        """Divide `max_bytes`, but no less than SMALLEST_BOUND: whoever has less keeps nothing."""
        max_bytes = max(max_bytes, SMALLEST_BOUND)
        # An index entry takes about 87 bytes in LMDB: a fortieth is enough for blocks of 3.5 KB and more on
        # average; smaller ones fill the index first, and eviction then goes by the index.
        index_bytes = _page_floor(max(max_bytes // 40, 3 * MIB))
        location_bytes = location_share(max_bytes)
        segments_bytes = max_bytes - index_bytes - location_bytes - FIXED_BYTES
        largest = min(_LARGEST_SEGMENT, max(_USUAL_SEGMENT, segments_bytes // _MOST_SEGMENTS))
        segment_bytes = min(max(_page_floor(segments_bytes // 16), _SMALLEST_SEGMENT), _page_floor(largest))
        most_records = (index_bytes - INDEX_SLACK_BYTES) // PAGE * _ENTRIES_A_PAGE // 8
        return cls(max_bytes, segment_bytes, segments_bytes, index_bytes, location_bytes, most_records)

    def admits(self, segment_sizes: list[int]) -> bool:
        """Whether segments of these sizes (bytes) stay within the bound."""
        return sum(segment_sizes) + SEGMENT_OVERHEAD * len(segment_sizes) <= self.segments_bytes

    def takes(self, segment_sizes: list[int], blocks: int, size: int, largest: int) -> bool:
        """Whether new segments beside these have room for so many blocks of `size` bytes, and for two segments more."""
        free = self.segments_bytes - sum(segment_sizes) - SEGMENT_OVERHEAD * len(segment_sizes)
        whole = free // (self.segment_bytes + SEGMENT_OVERHEAD) - _SPARE_SEGMENTS
        # The end of a segment stays empty when the next block is too large for it.
        return whole * (self.segment_bytes - largest - PAGE) >= size + blocks * _RECORD_BYTES


def location_share(max_bytes: int) -> int:
    """Bytes of a directory bounded by `max_bytes` that belong to `LocationIndex`."""
    return _page_floor(max(max_bytes // 80, 2 * MIB))


def _page_floor(size: int) -> int:
    return size // PAGE * PAGE
