"""Lists of extents: cut out a range of a file, add at the end. What adjoins in one object is one extent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .entry import Extent
from .tables import ExtentTable

__all__ = ["add_extents", "cut_extents"]


def add_extents(extents: list[Extent], more: Iterable[Extent]) -> None:
    """Add extents behind the last one, in place."""
    for extent in more:
        last = extents[-1] if extents else None
        if last is not None and last.object == extent.object and last.offset + last.length == extent.offset:
            extents[-1] = Extent(last.object, last.offset, last.length + extent.length)
        else:
            extents.append(extent)


def cut_extents(extents: Sequence[Extent], start: int, length: int) -> list[Extent]:
    """Return the extents of `length` bytes of a file from byte `start` on."""
    found: list[Extent] = []
    first = extents.holding(start) if isinstance(extents, ExtentTable) else 0
    at = extents.start(first) if isinstance(extents, ExtentTable) else 0
    for index in range(first, len(extents)):
        if at >= start + length:
            break
        extent = extents[index]
        low, high = max(start, at), min(start + length, at + extent.length)
        if low < high:
            add_extents(found, [Extent(extent.object, extent.offset + low - at, high - low)])
        at += extent.length
    return found
