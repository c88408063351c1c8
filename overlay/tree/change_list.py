"""What was added, modified, deleted and renamed since the last commit, a line each.

| kind | |
|---|---|
| A | added |
| M | modified: content, executable bit, metadata; or another thing of the same name |
| D | deleted; a directory with all that was in it is one line |
| R | renamed, of a directory with all that is in it; `modified` as well when a file's content changed too |

A directory that was added is one line too, unless `every` is asked for; what was renamed into it is listed always. What
changed in a directory that was renamed is named as it is now. What an earlier commit of the same mount has made or
renamed, and is renamed again, is told as deleted and added. Pipes and sockets are not listed: no commit takes them.

Reads a snapshot; may load nodes: call it where blocking is allowed. Modification times are no content and not listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from penstock.manifest.descend import LoadNode
from penstock.manifest.entry import Kind, NodeRef, TreeEntry
from penstock.overlay.tables.interface import ReadTables
from penstock.overlay.tables.schema import InodeRecord

from .changes import Changed, Changes, Path
from .namespace import Namespace

__all__ = ["Line", "status"]


class Line(NamedTuple):
    """One line. `old`: where it was before it was renamed. Sizes in bytes, None where there is no file (any more)."""

    kind: str
    path: Path
    old: Path | None
    is_directory: bool
    modified: bool
    old_size: int | None
    size: int | None


def status(
    tables: ReadTables,
    view: Namespace,
    sequence: int,
    committed: NodeRef,
    load: LoadNode,
    *,
    every: bool = False,
) -> Iterator[Line]:
    """Yield what changed after `sequence`, up to which all is in the tree `committed`, in tree order."""
    changes = Changes(tables, view, sequence, committed, load, renames=True)
    gone = {path for path, _ in changes.sources.values()}
    inside: Path | None = None
    for changed in changes.walk():
        if not changed.dirty:
            continue
        if inside is not None and changed.path[: len(inside)] != inside:
            inside = None
        line = _line(changed, gone, sequence)
        if line is None or (inside is not None and line.kind != "R"):
            continue
        yield line
        if changed.linked and line.is_directory and line.kind != "R" and not every and inside is None:
            inside = changed.path


def _line(changed: Changed, gone: set[Path], sequence: int) -> Line | None:
    record, was = changed.record, changed.committed
    if record is None or record.special:
        if changed.path in gone or was is None:
            return None
        return Line("D", changed.path, None, was.kind is Kind.DIRECTORY, False, _size(was), None)
    kind, old = ("M", None) if was is not None or not changed.linked else ("A", None)
    stays = not changed.linked
    if changed.source is not None:
        was = changed.source[1]
        stays = changed.source[0] == changed.path
        if not stays:
            kind, old = "R", changed.source[0]
    if stays and was is not None and record.content <= sequence and _is_same(record, was):
        return None  # it was changed, or moved, and back
    modified = kind == "M" or (kind == "R" and record.content > sequence)
    return Line(kind, changed.path, old, record.kind is Kind.DIRECTORY, modified, _size(was), _size_now(record))


def _is_same(record: InodeRecord, was: TreeEntry) -> bool:
    return record.kind is was.kind and record.kept_metadata == was.metadata


def _size(entry: TreeEntry | None) -> int | None:
    return entry.size if entry is not None and entry.kind is not Kind.DIRECTORY else None


def _size_now(record: InodeRecord) -> int | None:
    return record.size if record.kind is not Kind.DIRECTORY else None
