"""Which fields of metadata can be columns of a table, and what an entry has in them. Pure.

A field is one when all files that have it have values of one type, or lists of one type: ``label``, ``camera.iso``.
What fits no column is in the JSON of the row, as all is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from penstock.repo.query.summary import FieldSummary

__all__ = ["MetadataColumn", "column_values", "metadata_columns"]

ColumnKind = Literal["boolean", "integer", "number", "string"]
_LARGEST = (1 << 63) - 1
_TYPES: dict[ColumnKind, type] = {"boolean": bool, "integer": int, "number": float, "string": str}
_DEPTH = 16


class MetadataColumn(NamedTuple):
    """A column: its values are of one kind, or lists of that kind."""

    kind: ColumnKind
    is_list: bool


def metadata_columns(fields: Iterable[FieldSummary]) -> dict[str, MetadataColumn]:
    """Return the fields that can be columns, by name."""
    known = {each.field: each for each in fields}
    columns: dict[str, MetadataColumn] = {}
    for name, field in known.items():
        if "[]" in name:
            continue
        kind = _kind(field)
        members = known.get(f"{name}[]")
        if kind is not None:
            columns[name] = MetadataColumn(kind, is_list=False)
        elif set(field.types) - {"null"} == {"array"} and members is not None:
            kind = _kind(members)
            if kind is not None:
                columns[name] = MetadataColumn(kind, is_list=True)
    return columns


def _kind(field: FieldSummary) -> ColumnKind | None:
    types = set(field.types) - {"null"}
    if types == {"boolean"}:
        return "boolean"
    if types == {"string"}:
        return "string"
    if types and types <= {"integer", "number"}:
        assert field.least is not None
        assert field.most is not None
        fits = field.least >= -_LARGEST and field.most <= _LARGEST
        return "integer" if types == {"integer"} and fits else "number"
    return None


def column_values(metadata: Mapping[str, Any], columns: Mapping[str, MetadataColumn]) -> dict[str, Any]:
    """Return what an entry has in each column that it has something for."""
    return {
        name: _converted(value, columns[name])
        for name, value in _flat("", metadata, _DEPTH)
        if name in columns and _fits(value, columns[name])
    }


def _converted(value: Any, column: MetadataColumn) -> Any:
    if column.kind != "number":
        return value
    return list(map(float, value)) if column.is_list else float(value)


def _flat(prefix: str, metadata: Mapping[str, Any], depth: int) -> Iterator[tuple[str, Any]]:
    for name, value in metadata.items():
        if isinstance(value, dict) and depth:
            yield from _flat(f"{prefix}{name}.", value, depth - 1)
        else:
            yield prefix + name, value


def _fits(value: Any, column: MetadataColumn) -> bool:
    if column.is_list:
        return isinstance(value, list) and all(_fits(each, column._replace(is_list=False)) for each in value)
    if column.kind in ("integer", "number") and isinstance(value, int) and not isinstance(value, bool):
        return column.kind == "number" or -_LARGEST <= value <= _LARGEST
    return type(value) is _TYPES[column.kind]
