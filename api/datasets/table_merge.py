"""Rows of tables that two versions changed, joined by a key, for `Dataset.merge`: CSV, TSV and JSON lines.

A row that one side added, removed or changed since the common version is taken from it; what both did alike is taken
once. A row that both changed, each in its way, is a conflict: then the file stays one, and its rows are named. Rows
stand in our order, what they have added behind them, and each byte by byte as it stood there.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence

from penstock.errors import UsageError

__all__ = ["TableMerge"]

_ENDINGS = {".csv": ",", ".tsv": "\t", ".jsonl": "", ".ndjson": ""}
_SHOWN = 5
Key = tuple[str, ...]


class TableMerge:
    """Joins tables by the columns of a key. `conflicts` are the rows that could not be joined, by path."""

    def __init__(self, key: Sequence[str]) -> None:
        if not key:
            raise UsageError("rows cannot be joined without a key", fix="Name the columns that rows are known by.")
        self._key = tuple(key)
        self.conflicts: dict[str, list[str]] = {}

    def __call__(self, path: str, ours: bytes, base: bytes, theirs: bytes) -> bytes | None:
        """Return the joined table; None: it is none, or both changed a row. UsageError: it does not parse."""
        delimiter = next((mark for ending, mark in _ENDINGS.items() if path.lower().endswith(ending)), None)
        if delimiter is None:
            return None
        self.conflicts.pop(path, None)
        head, mine = self._table(path, ours, delimiter)
        other_head, other = self._table(path, theirs, delimiter)
        common = self._table(path, base, delimiter)[1] if base else {}
        if head != other_head or (base and head != self._table(path, base, delimiter)[0]):
            return None  # other columns, or in another order: no question of rows
        joined: list[bytes] = []
        clashes: list[str] = []
        for key in [*mine, *(key for key in other if key not in mine)]:
            here, there, before = mine.get(key), other.get(key), common.get(key)
            if here == there or there == before:
                kept = here
            elif here == before:
                kept = there
            else:
                clashes.append(", ".join(f"{name}={value}" for name, value in zip(self._key, key, strict=True)))
                continue
            if kept is not None:
                joined.append(kept)
        if clashes:
            self.conflicts[path] = clashes
            return None
        return head + b"".join(row if row.endswith(b"\n") else row + b"\n" for row in joined)

    def explain(self) -> str:
        """Say which rows both sides changed; empty: none."""
        told = []
        for path, rows in self.conflicts.items():
            more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
            told.append(f"{path}: row {'; '.join(rows[:_SHOWN])}{more}")
        return f"both sides changed {' and '.join(told)}" if told else ""

    def _table(self, path: str, body: bytes, delimiter: str) -> tuple[bytes, dict[Key, bytes]]:
        """Return the header, and the rows by their keys, in their order, as they stand there."""
        rows: dict[Key, bytes] = {}
        head = b""
        for number, key, raw in (
            _lines(path, body, self._key) if not delimiter else _records(path, body, self._key, delimiter)
        ):
            if key is None:
                head = raw
                continue
            if key in rows:
                raise UsageError(
                    f"{', '.join(self._key)} is no key of {path!r}",
                    why=f"row {number} has {', '.join(key)} a second time",
                    fix="Name further columns, separated by commas.",
                )
            rows[key] = raw
        return head, rows


def _broken(path: str, why: str) -> UsageError:
    return UsageError(f"{path!r} cannot be read as a table", why=why, fix="Merge without --rows, or mend it.")


def _lines(path: str, body: bytes, key: Key) -> Iterator[tuple[int, Key, bytes]]:
    for number, line in enumerate(body.splitlines(keepends=True), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _broken(path, f"line {number} is no JSON: {error}") from error
        if not isinstance(row, dict) or any(name not in row for name in key):
            raise _broken(path, f"line {number} has no {', '.join(key)}")
        values = (row[name] for name in key)
        yield (
            number,
            tuple(each if isinstance(each, str) else json.dumps(each, sort_keys=True) for each in values),
            line,
        )


def _records(path: str, body: bytes, key: Key, delimiter: str) -> Iterator[tuple[int, Key | None, bytes]]:
    places: list[int] | None = None
    width = 0
    for number, raw in enumerate(_raw_records(body), 0):
        text = raw.decode("utf-8", "surrogateescape")
        try:
            fields = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), [])
        except csv.Error as error:
            raise _broken(path, f"row {number}: {error}") from error
        if not fields:
            continue
        if places is None:
            names = [field.removeprefix("\ufeff") for field in fields]
            missing = [name for name in key if name not in names]
            if missing:
                raise UsageError(
                    f"{path!r} has no column {missing[0]!r}",
                    why=f"its columns are {', '.join(map(repr, names[:20]))}",
                    fix="Name a column that it has.",
                )
            places = [names.index(name) for name in key]
            width = len(fields)
            yield number, None, raw
            continue
        if len(fields) != width:
            raise _broken(path, f"row {number} has {len(fields)} fields, and the header {width}")
        yield number, tuple(fields[at] for at in places), raw


def _raw_records(body: bytes) -> Iterator[bytes]:
    """Yield records as they stand there: lines, and those together between which a quote is open."""
    held = b""
    for line in body.splitlines(keepends=True):
        held += line
        if held.count(b'"') % 2 == 0:
            yield held
            held = b""
    if held:
        yield held
