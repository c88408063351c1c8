"""Entries as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable

from .entry_row import EntryRow
from .finished_file import whole_file

__all__ = ["write_jsonl"]


def write_jsonl(path: str, rows: Iterable[EntryRow]) -> int:
    """Write a file with one line a row, and return how many there are."""
    with whole_file(path) as file:
        return sum(1 for row in rows if file.write(json.dumps(row, allow_nan=False).encode() + b"\n"))
