"""The first rows of a table, from the first bytes of a file: CSV, TSV, JSON lines. Pure, and bounded."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["MOST_COLUMNS", "MOST_ROWS", "TableRows", "cell_text", "rows_of_records", "rows_of_text"]

MOST_ROWS = 200
MOST_COLUMNS = 60
_MOST_CELL = 300


@dataclass(frozen=True, slots=True)
class TableRows:
    """What of a table is shown. `is_whole`: nothing was left out. `note` says what is wrong with it, if anything."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_whole: bool
    note: str = ""


def cell_text(value: object) -> str:
    """Return a value as the text of a cell."""
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, default=str)
    return text if len(text) <= _MOST_CELL else text[:_MOST_CELL] + "…"


def rows_of_records(records: Sequence[object], *, is_whole: bool) -> TableRows:
    """Return the rows of JSON objects; the columns are their fields, as they come."""
    columns: dict[str, None] = {}
    shown = records[:MOST_ROWS]
    for each in shown:
        if isinstance(each, dict):
            columns.update(dict.fromkeys(each))
    names = list(columns)[:MOST_COLUMNS] or ["value"]
    rows = [
        [cell_text(each.get(name)) for name in names] if isinstance(each, dict) else [cell_text(each)] for each in shown
    ]
    return TableRows(names, rows, is_whole and len(records) <= MOST_ROWS and len(columns) <= MOST_COLUMNS)


def rows_of_text(head: bytes, suffix: str, *, is_whole: bool) -> TableRows:
    """Return the rows at the beginning of a file; what of its last line may be cut is left out."""
    text = head.decode("utf-8-sig", "replace")
    if not is_whole:
        text = text[: text.rfind("\n") + 1]
    if suffix in ("jsonl", "ndjson"):
        return _json_lines(text, is_whole=is_whole)
    delimiter = "\t" if suffix == "tsv" else _delimiter(text)
    rows: list[list[str]] = []
    note = ""
    try:
        for row in csv.reader(io.StringIO(text), delimiter=delimiter):
            rows.append([cell_text(each) for each in row])
            if len(rows) > MOST_ROWS:
                break
    except csv.Error as error:
        note = f"the table cannot be read further: {error}"
    widest = max(map(len, rows), default=0)
    columns = rows[0][:MOST_COLUMNS] if rows else []
    shown = [row[:MOST_COLUMNS] for row in rows[1 : MOST_ROWS + 1]]
    return TableRows(columns, shown, is_whole and len(rows) <= MOST_ROWS and widest <= MOST_COLUMNS and not note, note)


def _delimiter(text: str) -> str:
    line = text.partition("\n")[0]
    return max(",;\t|", key=line.count)


def _json_lines(text: str, *, is_whole: bool) -> TableRows:
    records: list[object] = []
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            records.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            found = rows_of_records(records, is_whole=False)
            return TableRows(found.columns, found.rows, False, f"line {len(records) + 1} is no JSON: {error}")
        if len(records) > MOST_ROWS:
            break
    return rows_of_records(records, is_whole=is_whole)
