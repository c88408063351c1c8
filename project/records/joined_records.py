"""Records of two lines of history, joined by their ids: what only one side did is taken, field by field.

A record that both sides added is one, for its id says what it is. One that both changed is a conflict where they gave
one field different values, or one removed what the other changed. Pure but for reading the versions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec

from penstock.errors import MergeConflictError

from .changed_rows import ChangedRows
from .data_record import DataRecord
from .versions import Version, record_changes

__all__ = ["RecordConflict", "Side", "join"]

Side = Literal["ours", "theirs"]
Choose = Callable[[str], Side | None]
_MOST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class RecordConflict:
    """A record that both sides changed, and the fields that they differ in; none: one side removed it."""

    id: str
    fields: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.id} ({', '.join(self.fields) if self.fields else 'removed on one side'})"


def join(rows: ChangedRows, ancestor: Version | None, theirs: Version, choose: Choose) -> None:
    """Take into `rows`, of our version, what changed from the ancestor to theirs.

    MergeConflictError names the records that are left when `choose` has had its say, or says nothing.
    """
    conflicts = list(_join(rows, ancestor, theirs, choose))
    if conflicts:
        shown = [str(each) for each in conflicts[:_MOST_SHOWN]]
        more = len(conflicts) - len(shown)
        raise MergeConflictError(
            f"{len(conflicts)} record{'s were' if len(conflicts) > 1 else ' was'} changed on both sides",
            why="; ".join([*shown, *([f"and {more} more"] if more else [])]),
            fix="Choose: git datasets checkout --ours (or --theirs), for all or for the ids that follow; then commit.",
            candidates=shown,
        )


def _join(rows: ChangedRows, ancestor: Version | None, theirs: Version, choose: Choose) -> Iterator[RecordConflict]:
    for change in record_changes(ancestor, theirs):
        ours = rows.get(change.id)
        if ours == change.new:
            continue
        joined, fields = _joined(change.old, ours, change.new)
        if fields is not None:
            side = choose(change.id)
            if side is None:
                yield RecordConflict(change.id, fields)
                continue
            joined = ours if side == "ours" else change.new
        if joined != ours:
            rows.put(change.id, joined, ours)
        elif ours is not None:
            rows.touch(change.id, ours)


def _joined(
    old: DataRecord | None, ours: DataRecord | None, theirs: DataRecord | None
) -> tuple[DataRecord | None, tuple[str, ...] | None]:
    """Join one record: what comes of it, and the fields in conflict, None when there is no conflict."""
    if ours == old:
        return theirs, None
    if theirs == old:
        return ours, None
    if ours is None or theirs is None:
        return None, ()
    fields = sorted(
        {name for each in (old, ours, theirs) if each is not None for name in (*each.files, *each.values, *each.error)}
    )
    result, conflicts = ours, []
    for name in fields:
        states = [_state(each, name) for each in (old, ours, theirs)]
        if states[1] == states[2] or states[2] == states[0]:
            continue
        if states[1] == states[0]:
            result = result.with_value(name, theirs.value(name), theirs.made.get(name), theirs.error.get(name, ""))
        elif name in ours.made and name in theirs.made:
            # Both made it: by code of which one will be the merged file's. It is made again if that asks for it.
            continue
        else:
            conflicts.append(name)
    return result, tuple(conflicts) if conflicts else None


def _state(record: DataRecord | None, name: str) -> object:
    if record is None:
        return None
    return msgspec.to_builtins(record.stamp(name)), record.made.get(name), record.error.get(name)
