"""Samples and splits of entries: by chance, but the same for the same seed, wherever and in what order it is done.

Chance is a hash of the seed and the path, or the group. So the same entries are chosen on every machine, and an entry
that is added changes little of what was chosen before.

Memory: of a sample, what is chosen, from each stratum as many as are wanted in all; of a split, 13 bytes an entry, and
its groups. One million entries stay well below 500 MB.
"""

from __future__ import annotations

import heapq
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from blake3 import blake3

from penstock.errors import UsageError

from .record import MISSING, Record, field_of

__all__ = ["MOST_STRATA", "SplitPlan", "plan_split", "sample"]

MOST_STRATA = 10_000
_MOST_PARTS = 255
_MISSING = b""
"""The stratum of entries that have not the field: one of its own."""

Field = Sequence[str]
"""Names of a field from the outside in, as `record.field_of` takes them."""


def _chance(seed: int, key: str) -> int:
    return int.from_bytes(blake3(b"%d\0" % seed + key.encode("utf-8", "surrogateescape")).digest(8), "big")


def _stratum(record: Record, field: Field | None) -> bytes:
    if field is None:
        return _MISSING
    value = field_of(record, tuple(field))
    return _MISSING if value is MISSING else msgspec.json.encode(value, order="sorted")


def _check_strata(strata: Mapping[Any, Any], field: Field | None) -> None:
    if len(strata) > MOST_STRATA:
        raise UsageError(
            f"{'.'.join(field or ())!r} has more than {MOST_STRATA} values",
            why="each would be a stratum of its own",
            fix="Stratify by a field with fewer values.",
        )


def _apportion(total: int, counts: Mapping[bytes, int]) -> dict[bytes, int]:
    """Share out a number in proportion, by the largest remainder; nobody gets more than it has."""
    whole = sum(counts.values())
    shares = {name: divmod(total * count, whole) for name, count in counts.items()}
    given = {name: quotient for name, (quotient, _) in shares.items()}
    left = total - sum(given.values())
    for name in sorted(shares, key=lambda name: (-shares[name][1], name))[:left]:
        given[name] += 1
    return given


def sample(records: Iterable[Record], count: int, *, seed: int = 0, stratify: Field | None = None) -> list[Record]:
    """Return `count` records, in the order of their paths; all, if there are fewer.

    With `stratify`, as many of each value of that field as is their share. UsageError: it has too many values.
    """
    if count < 0:
        raise UsageError(f"a sample of {count} entries", why="it cannot be less than none")
    heaps: dict[bytes, list[tuple[int, str, Record]]] = {}
    counts: Counter[bytes] = Counter()
    for record in records:
        stratum = _stratum(record, stratify)
        counts[stratum] += 1
        heap = heaps.get(stratum)
        if heap is None:
            heap = heaps[stratum] = []
            _check_strata(heaps, stratify)
        item = (-_chance(seed, record.path), record.path, record)
        if len(heap) < count:
            heapq.heappush(heap, item)
        elif heap and item > heap[0]:
            heapq.heappushpop(heap, item)
    wanted = _apportion(min(count, counts.total()), counts) if counts else {}
    chosen = [item[2] for name, heap in heaps.items() for item in heapq.nlargest(wanted[name], heap)]
    return sorted(chosen, key=lambda record: record.path.encode("utf-8", "surrogateescape").split(b"/"))


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """Which part each record belongs to. `parts[i]` is the index in `names` of that of record i of the stream.

    `counts` are those of the parts; `strata` those of each stratum, as JSON (empty: it has not the field), by part.
    """

    names: tuple[str, ...]
    parts: bytes
    counts: tuple[int, ...]
    strata: Mapping[bytes, tuple[int, ...]]


def plan_split(
    records: Iterable[Record],
    shares: Mapping[str, float],
    *,
    seed: int = 0,
    stratify: Field | None = None,
    group: Field | None = None,
) -> SplitPlan:
    """Say which part each record goes to. Shares are in proportion, and need not add up to 1.

    With `stratify`, each value of that field is split alike: to the entry, where nothing is grouped. With `group`,
    entries with the same value of that field stay together, and the shares are met as well as whole groups permit;
    a group counts to the stratum of its first entry. An entry without the field is a group of its own.

    UsageError: shares that are none, or a field with too many values to stratify by.
    """
    names = tuple(shares)
    if not 0 < len(names) <= _MOST_PARTS or not all(0 < share < float("inf") for share in shares.values()):
        raise UsageError("a split needs parts with shares above 0", why=f"these were given: {dict(shares)!r}")
    strata: dict[bytes, int] = {}
    groups: dict[bytes, int] = {}
    units = array("I")  # of each record
    chances, sizes, unit_strata = array("Q"), array("I"), array("H")  # of each unit
    for record in records:
        key = field_of(record, tuple(group)) if group is not None else MISSING
        name = msgspec.json.encode(key, order="sorted") if key is not MISSING else None
        unit = groups.get(name) if name is not None else None
        if unit is None:
            unit = len(sizes)
            stratum = strata.setdefault(_stratum(record, stratify), len(strata))
            _check_strata(strata, stratify)
            chances.append(_chance(seed, f"g{name.decode()}" if name is not None else f"p{record.path}"))
            sizes.append(0)
            unit_strata.append(stratum)
            if name is not None:
                groups[name] = unit
        sizes[unit] += 1
        units.append(unit)
    places = _assign(list(shares.values()), chances, sizes, unit_strata, len(strata))
    parts = bytes(places[unit] for unit in units)
    tallies = [[0] * len(names) for _ in strata]
    for unit, size in enumerate(sizes):
        tallies[unit_strata[unit]][places[unit]] += size
    counts = tuple(sum(tally[part] for tally in tallies) for part in range(len(names)))
    return SplitPlan(names, parts, counts, {name: tuple(tallies[number]) for name, number in strata.items()})


def _assign(shares: list[float], chances: array[int], sizes: array[int], strata: array[int], count: int) -> bytearray:
    """Give each unit, in the order of chance, to the part that lacks most in its stratum."""
    whole = sum(shares)
    totals = [0] * count
    for unit, size in enumerate(sizes):
        totals[strata[unit]] += size
    lacking = [[total * share / whole for share in shares] for total in totals]
    places = bytearray(len(sizes))
    for unit in sorted(range(len(sizes)), key=chances.__getitem__):
        mine = lacking[strata[unit]]
        part = mine.index(max(mine))
        places[unit] = part
        mine[part] -= sizes[unit]
    return places
