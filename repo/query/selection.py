"""Samples and splits of entries: by chance, but the same for the same seed, wherever and in what order it is done.

Chance is a hash of the seed and the path, or the group. So the same entries are chosen on every machine, and an entry
that is added changes little of what was chosen before.

A plan is made in one pass over the entries, and followed in a second. Memory: some 60 bytes an entry while it is made,
and the groups of a split; so one million entries stay well below 500 MB. A plan itself is a byte an entry.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from blake3 import blake3

from penstock.errors import UsageError

from .query_record import MISSING, Record, field_of

__all__ = ["MOST_STRATA", "SplitPlan", "plan_sample", "plan_split"]

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


def plan_sample(records: Iterable[Record], count: int, *, seed: int = 0, stratify: Field | None = None) -> bytes:
    """Choose `count` records, all if there are fewer: a byte for each of the stream, 1 for those that are chosen.

    With `stratify`, as many of each value of that field as is their share. UsageError: it has too many values.
    """
    if count < 0:
        raise UsageError(f"a sample of {count} entries", why="it cannot be less than none")
    strata: dict[bytes, int] = {}
    chances, numbers = array("Q"), array("H")
    for record in records:
        numbers.append(strata.setdefault(_stratum(record, stratify), len(strata)))
        _check_strata(strata, stratify)
        chances.append(_chance(seed, record.path))
    sizes = Counter(numbers)
    counts = {name: sizes[number] for name, number in strata.items()}
    wanted = _apportion(min(count, len(chances)), counts) if counts else {}
    left = [wanted[name] for name in strata]
    chosen = bytearray(len(chances))
    for at in sorted(range(len(chances)), key=chances.__getitem__):
        if left[numbers[at]]:
            left[numbers[at]] -= 1
            chosen[at] = 1
    return bytes(chosen)


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
