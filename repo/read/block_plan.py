"""Which requests bring the blocks of many files, and whose each block is. Pure.

Files of a version lie in packs in tree order, so what is wanted of many of them is a few long ranges of a few objects:
to ask file by file would be a request each. A block that several files share is asked for once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from penstock.manifest.entry import External, TreeEntry
from penstock.repo.fetch.region_plan import RegionPlanner, pieces_of, place_order
from penstock.repo.fetch.regions import Region, RegionPiece

__all__ = ["REQUEST", "BlockPlan", "ScatteredBlock", "WantedBlock", "plan_blocks"]

T = TypeVar("T")

REQUEST = 4 << 20
"""Bytes in one request: 25 ms of waiting for 40 ms of data."""


@dataclass(frozen=True, slots=True)
class WantedBlock(Generic[T]):
    """A block of a file, and whoever wants it."""

    owner: T
    entry: TreeEntry
    index: int


@dataclass(frozen=True, slots=True)
class ScatteredBlock:
    """A block that lies in several places, so that no single request brings it."""

    digest: bytes
    entry: TreeEntry
    index: int


@dataclass(frozen=True, slots=True)
class BlockPlan(Generic[T]):
    """`regions` and `scattered` have to be fetched, `held` need not be; `wanted` says who wants which, by hash."""

    held: Sequence[bytes]
    regions: Sequence[Region]
    scattered: Sequence[ScatteredBlock]
    wanted: dict[bytes, list[WantedBlock[T]]]


def plan_blocks(
    blocks: Iterable[WantedBlock[T]],
    block_hash: Callable[[TreeEntry, int], bytes],
    missing: Callable[[Sequence[bytes]], Sequence[bytes]],
) -> BlockPlan[T]:
    """Plan how to fetch some blocks; `missing` returns which of some hashes are not at hand."""
    wanted: dict[bytes, list[WantedBlock[T]]] = {}
    for block in blocks:
        wanted.setdefault(block_hash(block.entry, block.index), []).append(block)
    absent = set(missing(list(wanted)))
    placed: list[tuple[bytes | External, RegionPiece]] = []
    scattered: list[ScatteredBlock] = []
    for digest, owners in wanted.items():
        if digest not in absent:
            continue
        entry, index = owners[0].entry, owners[0].index
        place = next(pieces_of(entry, block_hash, range(index, index + 1)), None)
        if place is not None:
            placed.append(place)
        else:
            scattered.append(ScatteredBlock(digest, entry, index))
    placed.sort(key=place_order)
    planner = RegionPlanner(REQUEST)
    regions = [region for found, piece in placed if (region := planner.add(found, piece)) is not None]
    held = [digest for digest in wanted if digest not in absent]
    return BlockPlan(held, [*regions, *planner.flush()], scattered, wanted)
