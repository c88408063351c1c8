"""One entry of a version as a row of a table: the columns that every format has."""

from __future__ import annotations

from typing import Any, TypedDict

__all__ = ["EntryRow", "RowPlace"]


class RowPlace(TypedDict):
    """Where bytes of an entry lie."""

    uri: str
    offset: int
    length: int


class EntryRow(TypedDict):
    """A row: `modified` in seconds since 1970, `hash` in hex, bytes of names that are not UTF-8 as surrogates."""

    path: str
    kind: str
    size: int
    hash: str
    modified: float
    target: str
    metadata: dict[str, Any]
    physical_keys: list[RowPlace]
