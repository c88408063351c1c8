"""Rows whose fields were renamed or removed, or have another type: the first step after a merge."""

from __future__ import annotations

from penstock.errors import UsageError
from penstock.project.declared.declaration import Field
from penstock.project.declared.file_types import LOOKED_AT, check_format

from .data_record import DataRecord, FileValue
from .dataset_schema import convert, plain_type
from .version_draft import VersionDraft

__all__ = ["reshape"]


def reshape(draft: VersionDraft) -> None:
    """Give rows the fields that the declaration has now. UsageError: a value does not fit the type of its field."""
    before = draft.before
    if before is None:
        return
    columns = {each.name: each for each in draft.declaration.columns}
    gone = {each.name for each in before.fields} - set(columns) - set(draft.names)
    changed = [
        column
        for each in before.fields
        if (column := columns.get(draft.names.get(each.name, each.name))) is not None
        and plain_type(column.type) != plain_type(each.type)
    ]
    everything = bool(gone or changed or draft.names)
    if not everything and draft.merging is None:
        return
    kept = frozenset(columns)
    for identity, record in draft.rows.all() if everything else draft.rows.touched():
        new = record.renamed(draft.names).only(kept)
        for column in changed:
            new = _fitted(draft, identity, new, column)
        if new != record:
            draft.rows.put(identity, new, record)


def _fitted(draft: VersionDraft, identity: str, record: DataRecord, column: Field) -> DataRecord:
    """Return a record whose field has another type now. UsageError: its value does not fit that."""
    value = record.value(column.name)
    if value is None:
        return record
    try:
        if column.type.is_file != isinstance(value, FileValue):
            raise UsageError(f"{column.name} is {column.type}", why="files and values are not turned into each other")
        if not isinstance(value, FileValue):
            return record.with_value(column.name, convert(value, column), record.made.get(column.name))
        with open(draft.path(value, draft.old_name(column.name), identity), "rb") as stream:
            check_format(stream.read(LOOKED_AT), column.type.formats)
    except (UsageError, OSError) as error:
        if column.name in record.made:
            return record.with_value(column.name, None)  # it is made again
        raise UsageError(
            f"{draft.declaration.file}:{column.line}: record {identity} does not fit: {error}",
            why=f"{column.name} is {column.type} now",
            fix="Give the field a type that its records fit, or add a field of another name.",
        ) from error
    return record
