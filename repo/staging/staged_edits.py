"""What of a tree in the making is new against its base, as edits: in tree order, and by reference where that will do.

A directory whose node lies in the bucket came there as a whole, from another version: it is one edit, whatever is below
it. So to publish a version costs what was changed in it.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import structs

from penstock.manifest.diff import changes
from penstock.manifest.entry import Kind, TreeEntry
from penstock.manifest.update import EMPTY_DIRECTORY, Edit

from .staged_tree import StagedTree

__all__ = ["new_files", "staged_edits"]


def staged_edits(staged: StagedTree) -> Iterator[Edit]:
    """Yield the edits that make the tree of its base, or of nothing."""
    base = staged.base.root if staged.base is not None and staged.base.root.entries else None
    found = changes(base, staged.root if staged.root.entries else None, staged.load, staged.load)
    change = next(found, None)
    while change is not None:
        path, old, new = change
        below = False
        if new is None:
            yield Edit(path, None)
        elif new.directory is None:
            yield Edit(path, new)
        elif old is not None and old.directory is not None:
            yield Edit(path, structs.replace(new, directory=None))  # its metadata; what is in it follows
            below = True
        elif staged.frames.has(new.directory.location):
            yield Edit(path, structs.replace(new, directory=EMPTY_DIRECTORY))
            below = True
        else:
            yield Edit(path, new)
        try:
            change = found.send(below)
        except StopIteration:
            return


def new_files(staged: StagedTree) -> Iterator[tuple[tuple[bytes, ...], TreeEntry]]:
    """Yield the files that are new, and did not come by reference, with their paths."""
    for path, entry, _ in staged_edits(staged):
        if entry is not None and entry.kind <= Kind.EXECUTABLE:
            yield path, entry
