"""What metadata there is: fields, their types, how many entries have them, which values. From a stream, in bounds.

Memory: MOST_FIELDS fields, of each MOST_VALUES values of at most LONGEST_VALUE characters; about 20 MB at the most.
Counts of entries and types are exact for the fields that are kept, which are the first that were met. Values are
exact as long as a field has no more than MOST_VALUES different ones, and are not told at all beyond that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["LONGEST_VALUE", "MOST_FIELDS", "MOST_VALUES", "FieldSummary", "MetadataSummary", "summarize"]

MOST_FIELDS = 1000
MOST_VALUES = 50
LONGEST_VALUE = 100
_MOST_DEPTH = 8
_MOST_ELEMENTS = 100
"""Elements of an array that are looked at."""

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


@dataclass(frozen=True, slots=True)
class FieldSummary:
    """A field, such as ``camera.iso``, or ``boxes[].label`` for members of an array's objects.

    `entries` have it, which is `share` of all. `types`: of its values, how many are of each type; ``null`` is one.
    `values`: how often each occurs, the most frequent first; None: there are too many, or they are no scalars.
    `least` and `most` are of its numbers.
    """

    field: str
    entries: int
    share: float
    types: Mapping[str, int]
    values: tuple[tuple[Any, int], ...] | None
    least: float | None
    most: float | None


class _Field:
    __slots__ = ("entries", "last", "least", "most", "types", "values")

    def __init__(self) -> None:
        self.entries = 0
        self.last = -1
        self.types: Counter[str] = Counter()
        self.values: Counter[tuple[str, Any]] | None = Counter()
        self.least: float | None = None
        self.most: float | None = None

    def add(self, entry: int, value: Any) -> None:
        self.entries += self.last != entry
        self.last = entry
        kind = _TYPES.get(type(value), "null")
        self.types[kind] += 1
        if kind in ("integer", "number"):
            self.least = value if self.least is None else min(self.least, value)
            self.most = value if self.most is None else max(self.most, value)
        if self.values is None:
            return
        if kind in ("array", "object") or (kind == "string" and len(value) > LONGEST_VALUE):
            self.values = None
            return
        self.values[kind, value] += 1  # the type too, as 1 and true are one key
        if len(self.values) > MOST_VALUES:
            self.values = None


class MetadataSummary:
    """Takes the metadata of one entry after the other; `fields` tells what it has seen so far."""

    def __init__(self) -> None:
        self.entries = 0
        self.described = 0
        """Entries that have metadata."""
        self.left_out = 0
        """Times that a field was met for which there was no room."""
        self._fields: dict[str, _Field] = {}

    def add(self, metadata: Mapping[str, Any]) -> None:
        """Take an entry."""
        self.described += bool(metadata)
        self._walk("", metadata, 1)
        self.entries += 1

    def _walk(self, prefix: str, found: Mapping[str, Any], depth: int) -> None:
        for name, value in found.items():
            self._note(prefix + name, value, depth)

    def _note(self, name: str, value: Any, depth: int) -> None:
        field = self._fields.get(name)
        if field is None:
            if len(self._fields) >= MOST_FIELDS:
                self.left_out += 1
                return
            field = self._fields[name] = _Field()
        field.add(self.entries, value)
        if depth >= _MOST_DEPTH:
            return
        if isinstance(value, dict):
            self._walk(name + ".", value, depth + 1)
        elif isinstance(value, list):
            for element in value[:_MOST_ELEMENTS]:
                self._note(name + "[]", element, depth + 1)

    def fields(self) -> list[FieldSummary]:
        """Return the fields, by name."""
        return [
            FieldSummary(
                name,
                field.entries,
                field.entries / self.entries,
                dict(field.types.most_common()),
                tuple((value, count) for (_, value), count in field.values.most_common())
                if field.values is not None
                else None,
                field.least,
                field.most,
            )
            for name, field in sorted(self._fields.items())
        ]


def summarize(many: Iterable[Mapping[str, Any]]) -> MetadataSummary:
    """Return the summary of the metadata of many entries."""
    summary = MetadataSummary()
    for metadata in many:
        summary.add(metadata)
    return summary
