"""Divide the files of a version among workers, by bytes, so that none fetches what another one fetches. Pure.

Files of one object (a pack, an object elsewhere) stay together, however many commits have put them where in the tree;
a large file keeps its objects together. Of a version that was pushed once these are runs of neighbours; of one that was
edited, a few runs more. Shards follow the order in which the tree meets the objects, so that each is close to a share
of the tree.

Where a single object is larger than a share, it can be cut between files (`whole` False): each byte is fetched by one
worker still, and the object by several.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from penstock.manifest.entry import TreeEntry

__all__ = ["PlannedShard", "ShardFile", "plan_shards", "total_weight"]

_FILE_WEIGHT = 4096
"""Bytes that a file counts beside its own: to open, call and close costs, too."""
_NO_OBJECT = -1


@dataclass(frozen=True, slots=True)
class ShardFile:
    """A file with its number in the tree. `joined`: it is never parted from the file before it."""

    number: int
    entry: TreeEntry
    joined: bool = False


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """Runs of entries by their numbers, each from and to (not included); how many files these are, and their bytes."""

    runs: tuple[tuple[int, int], ...]
    files: int
    bytes: int


class _Groups:
    """Objects that are fetched together: union and find."""

    def __init__(self) -> None:
        self._numbers: dict[object, int] = {}
        self._parents = array("q")

    def of(self, entry: TreeEntry) -> int:
        """Return the group of a file's objects; one for all that have none is made by the caller."""
        first = _NO_OBJECT
        for extent in entry.extents:
            name = extent.object if isinstance(extent.object, bytes) else extent.object.uri
            number = self._numbers.get(name)
            if number is None:
                number = self._numbers[name] = len(self._parents)
                self._parents.append(number)
            first = number if first == _NO_OBJECT else self.join(first, number)
        return first

    def join(self, one: int, other: int) -> int:
        one, other = sorted((self.find(one), self.find(other)))
        self._parents[other] = one
        return one

    def are_one(self, one: int, other: int) -> bool:
        """Whether files of two groups may be in one run; with what has no object, any."""
        return _NO_OBJECT in (one, other) or self.find(one) == self.find(other)

    def find(self, number: int) -> int:
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number


def plan_shards(
    files: Iterable[ShardFile], count: int, weight: int, *, whole: bool = True, sparse: bool = False
) -> list[PlannedShard]:
    """Return at most `count` shards of files that come in tree order; fewer where there are fewer objects.

    `weight` is the bytes of all, about: `total_weight`. With `whole` False an object of more than a share is cut.
    `sparse`: between the files that come are others, which are not meant.
    """
    share = max(1, weight // count)
    groups = _Groups()
    # Runs in tree order: the group that each began with, from, to, files, bytes. Compact, for there may be many.
    owners, starts, stops, counts, sizes = array("q"), array("q"), array("q"), array("q"), array("q")
    last = _NO_OBJECT
    for file in files:
        group = groups.of(file.entry)
        if group == _NO_OBJECT:
            group = last  # an empty file goes with the one before
        elif file.joined and last != _NO_OBJECT:
            group = groups.join(last, group)
        full = bool(owners) and not file.joined and sizes[-1] + counts[-1] * _FILE_WEIGHT >= share
        is_next = bool(owners) and not full and (not sparse or stops[-1] == file.number)
        if is_next and groups.are_one(owners[-1], group):
            owners[-1] = group if owners[-1] == _NO_OBJECT else owners[-1]
            stops[-1] = file.number + 1
            counts[-1] += 1
            sizes[-1] += file.entry.size
        else:
            owners.append(group)
            starts.append(file.number)
            stops.append(file.number + 1)
            counts.append(1)
            sizes.append(file.entry.size)
        last = group
    units = _units(groups, owners, counts, sizes, None if whole else share)
    return _shards(units, count, starts, stops, counts, sizes, sparse=sparse)


def total_weight(files: int, size: int) -> int:
    """Return what so many files with so many bytes weigh."""
    return size + files * _FILE_WEIGHT


def _units(
    groups: _Groups, owners: array[int], counts: array[int], sizes: array[int], most: int | None
) -> list[list[int]]:
    """Return lists of runs that stay together, in the order in which they begin."""
    together: dict[int, list[int]] = {}
    for run, owner in enumerate(owners):
        together.setdefault(groups.find(owner) if owner != _NO_OBJECT else _NO_OBJECT, []).append(run)
    units: list[list[int]] = []
    for runs in together.values():
        if most is not None and sum(sizes[run] + counts[run] * _FILE_WEIGHT for run in runs) > most:
            units += [[run] for run in runs]
        else:
            units.append(runs)
    return sorted(units)


def _shards(
    units: Sequence[list[int]],
    count: int,
    starts: array[int],
    stops: array[int],
    counts: array[int],
    sizes: array[int],
    *,
    sparse: bool,
) -> list[PlannedShard]:
    weights = [sum(sizes[run] + counts[run] * _FILE_WEIGHT for run in unit) for unit in units]
    total = max(1, sum(weights))
    chosen: dict[int, list[int]] = {}
    before = 0
    for unit, weight in zip(units, weights, strict=True):
        number = min(count - 1, (2 * before + weight) * count // (2 * total))
        chosen.setdefault(number, []).extend(unit)
        before += weight
    return [
        PlannedShard(
            tuple(_stretches(sorted(runs), starts, stops, sparse=sparse)),
            sum(counts[run] for run in runs),
            sum(sizes[run] for run in runs),
        )
        for runs in chosen.values()
    ]


def _stretches(runs: list[int], starts: array[int], stops: array[int], *, sparse: bool) -> Iterator[tuple[int, int]]:
    """Yield from and to of runs, those that follow each other as one: between them lie no files, but directories."""
    cuts = [0, len(runs)]
    for at, (one, other) in enumerate(pairwise(runs), 1):
        if one + 1 != other or (sparse and stops[one] != starts[other]):
            cuts.append(at)
    for begin, end in pairwise(sorted(cuts)):
        yield starts[runs[begin]], stops[runs[end - 1]]
