"""Rows that were added, removed and changed from one table to another: by a key, or as whole rows.

    batches (table_source) ── hashes of key and row (value_hash) ── parts by the key's hash, on disk
    part by part: hashes that only one side has ── rows, by their numbers

A row is 24 bytes here; what is equal in both is never looked at again. Rows are hashed over the columns that both
tables have; which others there are is told. Memory: one part of both sides. Blocking; two threads, a side each.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

from blake3 import blake3

from penstock.errors import AccessError, UsageError

from .table_source import TableSource
from .value_hash import column_hashes, mixed

__all__ = ["ChangedRow", "RowDifferences", "differing_rows"]

_PART_ROWS = 4 << 20
_MOST_PARTS = 256
_STEP = 0x9E3779B97F4A7C15


class ChangedRow(NamedTuple):
    """One row: `before` is None where it was added, `after` where it was removed. Values by column."""

    before: dict[str, Any] | None
    after: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class RowDifferences:
    """What differs between two tables: counts, columns, and the first rows of each kind.

    `retyped` are columns of another type: name, and both types. `rows` has at most so many of each kind as was asked.
    """

    rows_before: int
    rows_after: int
    added: int
    removed: int
    changed: int
    columns_added: tuple[str, ...]
    columns_removed: tuple[str, ...]
    retyped: tuple[tuple[str, str, str], ...]
    rows: tuple[ChangedRow, ...]

    def __bool__(self) -> bool:
        return bool(
            self.added or self.removed or self.changed or self.columns_added or self.columns_removed or self.retyped
        )


def differing_rows(
    before: TableSource, after: TableSource, key: Sequence[str] = (), *, most: int = 100
) -> RowDifferences:
    """Compare two tables by the columns of a key; without one, rows are added and removed as wholes, in any order.

    UsageError: a table does not parse, has no such column, or has one key twice.
    """
    common = [name for name in before.columns if name in after.columns]
    for table in (before, after):
        _check_key(table, key)
    seeds = _Seeds(key, common if before.columns or after.columns else None)
    parts = min(_MOST_PARTS, 1 << max(0, (max(before.most_rows, after.most_rows) // _PART_ROWS)).bit_length())
    with ExitStack() as stack:
        sides = [stack.enter_context(_Side(table, parts)) for table in (before, after)]
        pool = stack.enter_context(ThreadPoolExecutor(2, "penstock-rows"))
        list(pool.map(lambda side: side.fill(seeds), sides))
        old, new = sides
        found = _Found(most)
        for number in range(parts):
            first, second = old.part(number), new.part(number)
            if key:
                for side, rows in ((old, first), (new, second)):
                    _check_unique(side.table, rows, key)
            found.add(first, second, keyed=bool(key))
        rows_before, rows_after = pool.map(
            lambda each: each[0].table.rows(sorted(each[1])),
            ((old, [a for a, _ in found.pairs if a is not None]), (new, [b for _, b in found.pairs if b is not None])),
        )
    return RowDifferences(
        old.count,
        new.count,
        found.added,
        found.removed,
        found.changed,
        tuple(name for name in after.columns if name not in before.columns),
        tuple(name for name in before.columns if name not in after.columns),
        tuple(
            (name, before.columns[name], after.columns[name])
            for name in common
            if before.columns[name] != after.columns[name]
        ),
        tuple(
            ChangedRow(
                rows_before[old_row] if old_row is not None else None,
                rows_after[new_row] if new_row is not None else None,
            )
            for old_row, new_row in found.pairs
        ),
    )


def _check_key(table: TableSource, key: Sequence[str]) -> None:
    missing = [name for name in key if table.columns and name not in table.columns]
    if missing:
        raise UsageError(
            f"{table.path!r} has no column {missing[0]!r}",
            why=f"its columns are {', '.join(map(repr, list(table.columns)[:20]))}",
            fix="Name a column that both tables have as --key; without one, rows are compared as wholes.",
        )


def _check_unique(table: TableSource, rows: Any, key: Sequence[str]) -> None:
    import numpy as np  # pyright: ignore[reportMissingImports]  # an extra

    keys = np.sort(rows[:, 0])
    if not len(keys) or not (doubled := keys[1:][keys[1:] == keys[:-1]]).size:
        return
    numbers = sorted(rows[rows[:, 0] == doubled[0], 2].tolist())[:2]
    values = [{name: row.get(name) for name in key} for row in table.rows(numbers).values()]
    if len(values) == 2 and values[0] != values[1]:
        raise UsageError(f"two keys of {table.path!r} have one hash", fix="Compare once more.")
    raise UsageError(
        f"{', '.join(key)} is no key of {table.path!r}",
        why=f"rows {numbers[0] + 1} and {numbers[-1] + 1} both have {values[0] if values else 'the same'}",
        fix="Name further columns with --key, or leave it out to compare whole rows.",
    )


class _Seeds:
    """What hashes begin with, by column: of this comparison alone."""

    def __init__(self, key: Sequence[str], columns: Sequence[str] | None) -> None:
        self._secret = secrets.token_bytes(32)
        self._columns = columns
        self.key = key

    def of(self, name: str) -> int:
        return int.from_bytes(blake3(name.encode("utf-8", "surrogatepass"), key=self._secret).digest(8), "big")

    def hashes(self, path: str, batch: Any) -> tuple[Any, Any]:
        """Return the hashes of the keys and of the rows of a batch."""
        import numpy as np  # pyright: ignore[reportMissingImports]

        names = batch.schema.names
        rows = np.zeros(batch.num_rows, np.uint64)
        by_name: dict[str, Any] = {}
        for name, column in zip(names, batch.columns, strict=True):
            if self._columns is not None and name not in self._columns:
                continue
            found = by_name[name] = column_hashes(column, self.of(name))
            if self._columns is None and column.null_count:  # a member that is not there adds nothing
                found = np.where(column.is_null().to_numpy(zero_copy_only=False), np.uint64(0), found)
            rows += found  # in any order of columns
        rows = mixed(rows)
        if not self.key:
            return rows, rows
        keys = np.zeros(batch.num_rows, np.uint64)
        for name in self.key:
            if name not in by_name or (self._columns is None and batch.column(names.index(name)).null_count):
                raise UsageError(
                    f"a row of {path!r} has no {name!r}",
                    why="a key is in every row",
                    fix="Name another --key; without one, rows are compared as wholes.",
                )
            keys = mixed(keys * np.uint64(_STEP) + by_name[name])
        return keys, rows


class _Side:
    """The hashes of one table: key, row and number of each, in parts by the key."""

    def __init__(self, table: TableSource, parts: int) -> None:
        self.table = table
        self.count = 0
        self._parts = parts
        self._held: list[Any] = []
        self._places: list[list[tuple[int, int]]] = [[] for _ in range(parts)]
        self._end = 0
        self._file: IO[bytes] | None = None
        if parts > 1:
            self._file = tempfile.TemporaryFile(prefix="penstock-rows-")  # noqa: SIM115  # closed with this

    def fill(self, seeds: _Seeds) -> None:
        """Go through the table."""
        import numpy as np  # pyright: ignore[reportMissingImports]

        shift = np.uint64(64 - (self._parts - 1).bit_length()) if self._parts > 1 else np.uint64(0)
        for batch in self.table.batches():
            if not batch.num_rows:
                continue
            keys, rows = seeds.hashes(self.table.path, batch)
            numbers = np.arange(self.count, self.count + batch.num_rows, dtype=np.uint64)
            records = np.stack((keys, rows, numbers), axis=1)
            self.count += batch.num_rows
            if self._file is None:
                self._held.append(records)
                continue
            where = (keys >> shift).astype(np.int64)
            order = np.argsort(where.astype(np.uint16), kind="stable")  # by radix
            ends = np.cumsum(np.bincount(where, minlength=self._parts)).tolist()
            self._write(records[order], ends)

    def _write(self, records: Any, ends: list[int]) -> None:
        assert self._file is not None
        try:
            self._file.write(records.tobytes())
        except OSError as error:
            raise AccessError(
                f"there is no room to compare tables in {tempfile.gettempdir()}",
                why=error.strerror or str(error),
                fix="Make room there, or set TMPDIR to a directory on another disk.",
            ) from error
        begin = 0
        for number, end in enumerate(ends):
            if end > begin:
                self._places[number].append((self._end + 24 * begin, end - begin))
            begin = end
        self._end += 24 * begin

    def part(self, number: int) -> Any:
        """Return the hashes of one part: rows of key, row, number."""
        import numpy as np  # pyright: ignore[reportMissingImports]

        if self._file is None:
            held = self._held or [np.zeros((0, 3), np.uint64)]
            return np.concatenate(held)
        self._file.flush()
        count = sum(length for _, length in self._places[number])
        found = np.empty((count, 3), np.uint64)
        at = 0
        for offset, length in self._places[number]:
            body = os.pread(self._file.fileno(), 24 * length, offset)
            found[at : at + length] = np.frombuffer(body, np.uint64).reshape(-1, 3)
            at += length
        return found

    def __enter__(self) -> _Side:
        return self

    def __exit__(self, *_: object) -> None:
        self._held = []
        if self._file is not None:
            self._file.close()


class _Found:
    """What differs, part by part: counted, and the numbers of the first rows of each kind."""

    def __init__(self, most: int) -> None:
        self.added = self.removed = self.changed = 0
        self.pairs: list[tuple[int | None, int | None]] = []
        self._most = most

    def add(self, old: Any, new: Any, *, keyed: bool) -> None:
        """Compare a part."""
        gone, come = _only_here(old, new), _only_here(new, old)
        if not keyed:
            self._take([(number, None) for number in gone[: self._most, 2].tolist()], len(gone), "removed")
            self._take([(None, number) for number in come[: self._most, 2].tolist()], len(come), "added")
            return
        import numpy as np  # pyright: ignore[reportMissingImports]

        stays = np.isin(gone[:, 0], come[:, 0])
        fresh = come[~np.isin(come[:, 0], gone[:, 0])]
        both = gone[stays][: self._most]
        order = np.argsort(come[:, 0])
        there = come[order[np.searchsorted(come[:, 0], both[:, 0], sorter=order)], 2] if len(both) else both[:, 2]
        self._take(list(zip(both[:, 2].tolist(), there.tolist(), strict=True)), int(stays.sum()), "changed")
        removed = gone[~stays]
        self._take([(number, None) for number in removed[: self._most, 2].tolist()], len(removed), "removed")
        self._take([(None, number) for number in fresh[: self._most, 2].tolist()], len(fresh), "added")

    def _take(self, pairs: Sequence[tuple[int | None, int | None]], count: int, kind: str) -> None:
        before = getattr(self, kind)
        setattr(self, kind, before + count)
        self.pairs += pairs[: max(0, self._most - before)]


def _only_here(mine: Any, others: Any) -> Any:
    """Return the records whose key and row the other side has not, or not as often."""
    import numpy as np  # pyright: ignore[reportMissingImports]

    here, there = (mixed(rows[:, 0] * np.uint64(_STEP) ^ rows[:, 1]) for rows in (mine, others))
    ours, theirs = np.sort(here), np.sort(there)
    if np.array_equal(ours, theirs):
        return mine[:0]
    doubled = (ours[1:] == ours[:-1]).any() or (theirs[1:] == theirs[:-1]).any()
    if not doubled:
        both = np.concatenate((ours, theirs))
        both.sort(kind="stable")  # two runs, merged
        lone = np.ones(len(both), bool)
        same = both[1:] == both[:-1]
        lone[1:] &= ~same
        lone[:-1] &= ~same
        wanted = both[lone]
        return (
            mine[wanted[np.minimum(np.searchsorted(wanted, here), len(wanted) - 1)] == here]
            if len(wanted)
            else mine[:0]
        )
    # Rows that are there several times: the first so many of them have a match, the others none.
    order = np.argsort(here, kind="stable")
    sorted_here = here[order]
    rank = np.arange(len(here)) - np.searchsorted(sorted_here, sorted_here)
    matches = np.searchsorted(theirs, sorted_here, side="right") - np.searchsorted(theirs, sorted_here)
    return mine[np.sort(order[rank >= matches])]
