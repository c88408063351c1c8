"""The block cache: content-addressed, verified, bounded, shared by all of a user's processes.

`BlockCache` holds blocks by their BLAKE3; `LocationIndex` remembers which object of a bucket holds a content. Both
only ever save work: losing any part of them costs speed, never an answer. `repo` and `vfs` call them; nothing here
knows of versions, mounts or stores. docs/CACHE.md has the shared state, the lock order and the record layout.
"""

from __future__ import annotations

from .blocks import BlockCache
from .crashes import note_crashes
from .layout import LARGEST_BLOCK, SMALLEST_BOUND
from .locations import LocationIndex
from .report import CacheInfo, VerifyReport

__all__ = [
    "LARGEST_BLOCK",
    "SMALLEST_BOUND",
    "BlockCache",
    "CacheInfo",
    "LocationIndex",
    "VerifyReport",
    "note_crashes",
]
