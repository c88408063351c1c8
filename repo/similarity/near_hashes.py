"""Which 64-bit hashes differ in few bits: all with all, in blocks that numpy counts. Pure; needs numpy.

The time is that of so many XORs: 8,000 hashes take a third of a second, 100,000 a minute at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["near_hashes"]

_CELLS = 1 << 21


def near_hashes(first: Any, second: Any | None, most: int) -> Iterator[tuple[int, int, int]]:
    """Yield the places of two hashes and in how many bits they differ, where those are at most `most`.

    `first` and `second` are arrays of uint64; without a second, pairs are within the first, each once.
    """
    import numpy as np  # pyright: ignore[reportMissingImports]  # an extra

    others = first if second is None else second
    step = max(1, _CELLS // max(1, len(others)))
    for begin in range(0, len(first), step):
        block = first[begin : begin + step]
        skip = begin if second is None else 0
        bits = np.bitwise_count(block[:, None] ^ others[None, skip:])
        for row, column in np.argwhere(bits <= most).tolist():
            if second is not None or column + skip > row + begin:
                yield row + begin, column + skip, int(bits[row, column])
