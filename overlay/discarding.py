"""Give up changes: paths are put back to what the committed version has, as clean records.

What to put back is worked out from a snapshot, where blocking is allowed; each step is then one change in the overlay's
thread. A directory that comes back is a graft of the committed version's, whatever its size. A rename is undone at both
ends, when either is asked for. What is open goes on being read by those who have it open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from penstock.errors import ConflictError, NotFoundError
from penstock.manifest.entry import Entry, Kind, display_path
from penstock.manifest.tree import ROOT_INODE

from .absorbing import Drop, Stale, put_clean, renew
from .changes import Changes, Path
from .editing import Editor
from .namespace import Namespace

__all__ = ["Restore", "plan_discard", "restore"]


class Restore(NamedTuple):
    """A path, and what is to be there: an entry of the committed version, or nothing.

    `whole`: of a directory, with all that is in it; else its metadata alone.
    """

    path: Path
    entry: Entry | None
    whole: bool


def plan_discard(changes: Changes, below: Path = (), metadata: bytes = b"") -> list[Restore]:
    """Return what puts all changes at and below a path back, in the order of doing. Blocking.

    `changes` were made with `renames`; `metadata` is what the committed version has for the root. NotFoundError:
    nothing changed there.
    """
    found: dict[Path, Restore] = {}
    inside: Path | None = None  # a directory that is put back whole
    for changed in changes.walk():
        if inside is not None and changed.path[: len(inside)] != inside:
            inside = None
        if not changed.path:
            if changed.dirty and not below:
                found[()] = Restore((), Entry(b"", Kind.DIRECTORY, metadata=metadata), False)
            continue
        source = changed.source
        if not changed.dirty or not (_is_below(changed.path, below) or (source and _is_below(source[0], below))):
            continue
        if source is not None:
            found[source[0]] = Restore(*source, True)
        if inside is not None:
            continue
        there = changed.linked or changed.committed is None
        # Below a directory that was renamed and stays so, `committed` is what the file was there.
        found.setdefault(changed.path, Restore(changed.path, changed.committed, there))
        if changed.linked and changed.record is not None and changed.record.kind is Kind.DIRECTORY:
            inside = changed.path
    if not found and below:
        raise NotFoundError(f"nothing has changed at {display_path(below)!r}", fix="penstock status lists what has.")
    return sorted(found.values(), key=lambda each: (each.entry is not None, each.path))


def _is_below(path: Path, above: Path) -> bool:
    return path[: len(above)] == above


def restore(editor: Editor, view: Namespace, each: Restore, drop: Drop, is_open: Callable[[int], bool]) -> list[Stale]:
    """Put a path back; return what the kernel has to forget. NodeMissing: again, with the node.

    ConflictError: the directory that it was in is not there.
    """
    if not each.path:
        assert each.entry is not None  # the root does not go
        renew(editor, view.node(ROOT_INODE), each.entry, drop)
        return []
    folder = view.resolve(each.path[:-1])
    if folder is None or not folder.is_directory:
        if each.entry is None:
            return []
        raise ConflictError(
            f"{display_path(each.path)!r} cannot be put back",
            why=f"there is no directory {display_path(each.path[:-1])!r} now",
            fix=f"Put that back first: penstock discard … {display_path(each.path[:-1])}",
        )
    return put_clean(editor, view, folder.inode, each.path[-1], each.entry, drop, is_open, whole=each.whole)
