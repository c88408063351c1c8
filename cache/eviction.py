"""Which segment to give up: a pure function of what is known of each.

Why not LRU. A training run passes over its data again and again. When the data are larger than the cache, LRU (and
FIFO) evicts every block shortly before its turn comes round: a cyclic pass hits nothing, a shuffled one far less
than cache/dataset. Picking uniformly at random is better but not in proportion either: between two reads of a block
so many others are written that, for a cache of a tenth of the data, one block in twenty thousand survives.

What hits in proportion is to keep a set of segments and let the rest of the data stream past it:

- a segment that was read again well after it was written has proved its worth, and is kept while it goes on being
  read (the most recently read KEPT of them; not longer than STALE cache-fulls of writing without a hit);
- among the rest, mostly the newest goes (it holds what a pass has just read, so what it needs last), and sometimes
  any of them, so that a different dataset finds its way in.

The only clock is the number of the newest segment: it advances with what is written, not with time, so a cache that
nobody used for a week has forgotten nothing. Simulated (tests/cache/test_eviction.py), in parts of cache/dataset:
shuffled passes 0.9 at any ratio; cyclic passes 0.8-0.95 once the cache holds a third of the data; below that the gap
between two hits of a segment outlasts STALE and the figure sinks towards 0.2 at a tenth. LRU: 0 and cache/dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

__all__ = ["Candidate", "choose_victim"]

KEPT = 0.9
"""Share of the candidates that proved segments may take up."""

STALE = 3
"""Cache-fulls of writing after which a proved segment without a hit counts as unproved."""

NEWEST_FIRST = 0.75
"""Chance that the newest unproved segment goes rather than any of them."""

GUARD = 16
"""A hit proves nothing until 1/GUARD of the cache was written after the segment: a file is read in several requests,
and those of one pass are no sign of another."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sealed segment that nobody writes to. `number`: when it was begun; `hit`: the clock at its last hit."""

    number: int
    hit: int | None


def choose_victim(candidates: Sequence[Candidate], clock: int, random: Random) -> Candidate:
    """Return the one to evict of `candidates` (at least one) when the newest segment has the number `clock`."""
    total = len(candidates)
    guard = max(1, total // GUARD)
    proved = [
        (candidate.hit, candidate.number)
        for candidate in candidates
        if candidate.hit is not None
        and candidate.hit - candidate.number >= guard
        and clock - candidate.hit <= STALE * total
    ]
    proved.sort(reverse=True)
    kept = {number for _, number in proved[: int(KEPT * total)]}
    pool = [candidate for candidate in candidates if candidate.number not in kept]
    if random.random() < NEWEST_FIRST:
        return max(pool, key=lambda candidate: candidate.number)
    return random.choice(pool)
