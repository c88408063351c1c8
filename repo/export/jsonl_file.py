"""Entries as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import BinaryIO

from .entry_row import EntryRow

__all__ = ["write_jsonl"]


def write_jsonl(file: BinaryIO, rows: Iterable[EntryRow]) -> int:
    """Write one line a row, and return how many there are."""
    return sum(1 for row in rows if file.write(json.dumps(row, allow_nan=False).encode() + b"\n"))
