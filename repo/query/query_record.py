"""An entry as questions see it: a path, what stat(2) would say, and the metadata. Immutable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["ATTRIBUTES", "MISSING", "Missing", "Record", "field_of"]

ATTRIBUTES = ("path", "name", "size", "hash")
"""Fields of every entry. Where metadata has a member of that name, `meta.NAME` is it."""


class Missing:
    """The one value of what an entry has not: equal to nothing, before and behind nothing."""

    def __repr__(self) -> str:
        return "missing"


MISSING = Missing()


class Record(NamedTuple):
    """An entry. `path` is text, with surrogate escapes for bytes that are not UTF-8; `hash` is 64 hex digits."""

    path: str
    size: int
    hash: str
    metadata: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The last name of the path."""
        return self.path.rpartition("/")[2]


def field_of(record: Record, names: tuple[str, ...]) -> Any:
    """Return the value of a field, given by its names from the outside in; MISSING when there is none.

    A number among the names is an index where an array stands.
    """
    first = names[0]
    if len(names) == 1 and first in ATTRIBUTES:
        return getattr(record, first)
    value: Any = record.metadata
    for name in names[1:] if first == "meta" and len(names) > 1 else names:
        if isinstance(value, Mapping):
            value = value.get(name, MISSING)
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return MISSING
    return value
