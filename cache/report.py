"""The values that the cache hands to whoever asks how it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["CacheInfo", "VerifyReport"]


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What a cache holds. `bytes` is what its directory takes on disk, never more than `max_bytes`.

    `quarantined` counts blocks found damaged since the index was built; `mode` is ``ok`` or ``degraded: why``.
    """

    directory: Path
    max_bytes: int
    blocks: int
    bytes: int
    segments: int
    quarantined: int
    mode: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What reading every block found: `blocks` and `bytes` that were right, `damaged`, and `missing` ones.

    Damaged blocks are out of the index by now, and so are those whose segment is gone.
    """

    blocks: int
    bytes: int
    damaged: int
    missing: int
