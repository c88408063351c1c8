"""The block cache: content-addressed, verified, bounded, shared by all of a user's processes.

`BlockCache` holds blocks by their BLAKE3; `LocationIndex` remembers which object of a bucket holds a content. Both
only ever save work: losing any part of them costs speed, never an answer. `repo` and `vfs` call them; nothing here
knows of versions, mounts or stores. docs/CACHE.md has the shared state, the lock order and the record layout.

What is named here is loaded when it is first asked for: git's hooks need a lock of this room, and no cache.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_PLACES = {
    "LARGEST_BLOCK": "layout",
    "SMALLEST_BOUND": "layout",
    "BlockCache": "blocks",
    "CacheInfo": "report",
    "LocationIndex": "locations",
    "VerifyReport": "report",
    "note_crashes": "crashes",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = found
    return found
