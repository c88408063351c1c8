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

from .draft_tree import DraftTree

__all__ = ["draft_edits", "new_files"]


def draft_edits(draft: DraftTree) -> Iterator[Edit]:
    """Yield the edits that make the tree of its base, or of nothing."""
    base = draft.base.root if draft.base is not None and draft.base.root.entries else None
    found = changes(base, draft.root if draft.root.entries else None, draft.load, draft.load)
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
        elif draft.frames.has(new.directory.location):
            yield Edit(path, structs.replace(new, directory=EMPTY_DIRECTORY))
            below = True
        else:
            yield Edit(path, new)
        try:
            change = found.send(below)
        except StopIteration:
            return


def new_files(draft: DraftTree) -> Iterator[tuple[tuple[bytes, ...], TreeEntry]]:
    """Yield the files that are new, and did not come by reference, with their paths."""
    for path, entry, _ in draft_edits(draft):
        if entry is not None and entry.kind <= Kind.EXECUTABLE:
            yield path, entry
