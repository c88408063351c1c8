"""Give up changes: paths are put back to what the committed version has, as clean records.

What to put back is worked out from a snapshot, where blocking is allowed; each step is then one change in the overlay's
thread. A directory that comes back is a graft of the committed version's, whatever its size. A rename is undone at both
ends, when either is asked for. What is open goes on being read by those who have it open.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from penstock.errors import ConflictError, NotFoundError
from penstock.manifest.entry import Kind, Metadata, TreeEntry, display_path
from penstock.manifest.tree import ROOT_INODE
from penstock.overlay.tree.changes import Changes, Path
from penstock.overlay.tree.clean_records import Drop, Stale, put_clean, renew
from penstock.overlay.tree.editor import Editor
from penstock.overlay.tree.namespace import Namespace

from .overlay import Overlay

__all__ = ["Discard", "Restore", "plan_discard"]

_STEP_SECONDS = 0.001


class Restore(NamedTuple):
    """A path, and what is to be there: an entry of the committed version, or nothing.

    `whole`: of a directory, with all that is in it; else its metadata alone.
    """

    path: Path
    entry: TreeEntry | None
    whole: bool


def plan_discard(changes: Changes, paths: Sequence[Path] = ((),), metadata: Metadata = b"") -> list[Restore]:
    """Return what puts all changes at and below some paths back, in the order of doing. Blocking.

    `changes` were made with `renames`; `metadata` is what the committed version has for the root. NotFoundError:
    nothing changed at one of the paths; () is the root, and never refused.
    """
    found: dict[Path, Restore] = {}
    idle = {path for path in paths if path}
    inside: Path | None = None  # a directory that is put back whole
    for changed in changes.walk():
        if inside is not None and changed.path[: len(inside)] != inside:
            inside = None
        if not changed.path:
            if changed.dirty and () in paths:
                found[()] = Restore((), TreeEntry(b"", Kind.DIRECTORY, metadata=metadata), False)
            continue
        source = changed.source
        ends = (changed.path, source[0]) if source is not None else (changed.path,)
        wanted = {path for path in paths if any(_is_below(end, path) for end in ends)} if changed.dirty else ()
        if not wanted:
            continue
        idle -= wanted
        if source is not None:
            found[source[0]] = Restore(*source, True)
        if inside is not None:
            continue
        there = changed.linked or changed.committed is None
        # Below a directory that was renamed and stays so, `committed` is what the file was there.
        found.setdefault(changed.path, Restore(changed.path, changed.committed, there))
        if changed.linked and changed.record is not None and changed.record.kind is Kind.DIRECTORY:
            inside = changed.path
    if idle:
        shown = ", ".join(repr(display_path(path)) for path in sorted(idle))
        raise NotFoundError(f"nothing has changed at {shown}", fix="penstock status lists what has.")
    return sorted(found.values(), key=lambda each: (each.entry is not None, each.path))


def _is_below(path: Path, above: Path) -> bool:
    return path[: len(above)] == above


class Discard:
    """Puts paths back: `step` until it returns False, in the overlay's thread. `stale`: what the kernel has to forget.

    A directory that a path is to be put back into, and that is neither there nor put back as well, is found out
    before anything is changed.
    """

    def __init__(
        self, overlay: Overlay, editor: Editor, plan: Sequence[Restore], is_open: Callable[[int], bool]
    ) -> None:
        self._drop: Drop = overlay.content.drop
        self._editor = editor
        self._plan = plan
        self._is_open = is_open
        self._comes = {each.path for each in plan if each.entry is not None and each.entry.kind is Kind.DIRECTORY}
        self._goes = {each.path for each in plan if each.entry is None or each.entry.kind is not Kind.DIRECTORY}
        self._checked = 0
        self._done = 0
        self.stale: list[Stale] = []

    def step(self, view: Namespace) -> bool:
        """Take the next step, of about a millisecond; False when there is none left.

        NodeMissing: again, with the node. ConflictError: a directory is not there. OSError: the overlay's disk refuses.
        """
        end = time.monotonic() + _STEP_SECONDS
        while self._done < len(self._plan):
            if self._checked < len(self._plan):
                self._check(view, self._plan[self._checked])
                self._checked += 1
            else:
                self.stale += self._restore(view, self._plan[self._done])
                self._done += 1
            if time.monotonic() > end:
                return True
        return False

    def _check(self, view: Namespace, each: Restore) -> None:
        if each.entry is None or not each.path:
            return
        folder = each.path[:-1]
        for depth in range(len(folder), 0, -1):
            if folder[:depth] in self._comes:
                return
            if folder[:depth] in self._goes:
                raise _homeless(each)
        found = view.resolve(folder)
        if found is None or not found.is_directory:
            raise _homeless(each)

    def _restore(self, view: Namespace, each: Restore) -> list[Stale]:
        if not each.path:
            assert each.entry is not None  # the root does not go
            renew(self._editor, view.node(ROOT_INODE), each.entry, self._drop)
            return []
        folder = view.resolve(each.path[:-1])
        if folder is None or not folder.is_directory:
            if each.entry is None:
                return []
            raise _homeless(each)
        name = each.path[-1]
        return put_clean(
            self._editor, view, folder.inode, name, each.entry, self._drop, self._is_open, whole=each.whole
        )


def _homeless(each: Restore) -> ConflictError:
    folder = display_path(each.path[:-1])
    return ConflictError(
        f"{display_path(each.path)!r} cannot be put back",
        why=f"there is no directory {folder!r} now",
        fix=f"Put that back as well: penstock discard DIR {folder}",
    )
