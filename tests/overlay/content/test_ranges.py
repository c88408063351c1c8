"""Intervals of a data file, against a set of integers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from views.tables import MemoryTables

from penstock.manifest.entry import MAX_SIZE
from penstock.overlay.content.ranges import Ranges
from penstock.overlay.tables.schema import RANGES, TableChange, range_key

_INODE, _GENERATION = 7, 3
_SPACE = 60


def _start(key: bytes) -> int:
    """Return where the range of a key of RANGES begins."""
    return int.from_bytes(key[-8:], "big")


_neighbours = [(_INODE, _GENERATION - 1), (_INODE, _GENERATION + 1), (_INODE - 1, _GENERATION), (_INODE + 1, 0)]
_spans = st.tuples(st.integers(0, _SPACE), st.integers(0, _SPACE)).map(sorted)
_steps = st.lists(st.tuples(st.sampled_from(["add", "add", "add", "cut", "replace"]), _spans), max_size=30)


def _tables() -> MemoryTables:
    """Tables in which other files and other generations have ranges everywhere around."""
    tables = MemoryTables()
    for inode, generation in _neighbours:
        tables.change(Ranges(tables, inode, generation).add(0, MAX_SIZE))
    return tables


def _stored(tables: MemoryTables) -> list[tuple[int, int]]:
    found = []
    for key, value in tables.scan(RANGES, b"", range_key(_INODE, _GENERATION, 0)[:-8]):
        start = _start(key)
        assert key == range_key(_INODE, _GENERATION, start)
        found.append((start, int.from_bytes(value, "big")))
    return found


def _runs(numbers: set[int], start: int = 0, end: int = _SPACE) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for number in range(start, end):
        if number in numbers:
            if runs and runs[-1][1] == number:
                runs[-1] = runs[-1][0], number + 1
            else:
                runs.append((number, number + 1))
    return runs


@settings(deadline=None)
@given(_steps, _spans)
def test_intervals_are_what_a_set_of_integers_says(steps: list[tuple[str, list[int]]], asked: list[int]) -> None:
    tables, model = _tables(), set[int]()
    ranges = Ranges(tables, _INODE, _GENERATION)
    for step, (start, end) in steps:
        before = _stored(tables)
        if step == "add":
            if start == end:
                continue
            changes = ranges.add(start, end)
            model |= set(range(start, end))
        elif step == "cut":
            changes = ranges.cut(start)
            model -= set(range(start, _SPACE))
        else:
            model ^= set(range(start, end))
            changes = ranges.replace(_runs(model))
        tables.change(changes)
        assert _stored(tables) == _runs(model)  # disjoint, and merged where they adjoin
        assert ranges.end() == max(model, default=-1) + 1
        _is_minimal(before, _runs(model), changes)
    assert ranges.cover(*asked) == _runs(model, *asked)
    for inode, generation in _neighbours:
        assert Ranges(tables, inode, generation).cover(0, MAX_SIZE) == [(0, MAX_SIZE)]


def _is_minimal(before: list[tuple[int, int]], after: list[tuple[int, int]], changes: list[TableChange]) -> None:
    """Each key that differs is written once, and no other."""
    differing = {start for start, _ in set(before) ^ set(after)}
    assert sorted(_start(change.key) for change in changes) == sorted(differing)


def test_the_ends_of_the_number_line_can_be_content() -> None:
    tables = MemoryTables()
    ranges = Ranges(tables, 1, 0)
    tables.change(ranges.add(MAX_SIZE - 1, MAX_SIZE))
    tables.change(ranges.add(0, 1))
    assert ranges.cover(0, MAX_SIZE) == [(0, 1), (MAX_SIZE - 1, MAX_SIZE)]
    assert ranges.end() == MAX_SIZE
    tables.change(ranges.add(1, MAX_SIZE - 1))
    assert ranges.cover(0, MAX_SIZE) == [(0, MAX_SIZE)]
