"""What a working copy differs in from the version that it was last committed to, and what is put back, as it is told.

Blocking: a mount's daemon calls it in threads, an overlay that nobody has mounted directly.
"""

from __future__ import annotations

from collections.abc import Iterator

from penstock.manifest.entry import Kind, NodeRef, display_path
from penstock.manifest.update import EMPTY_DIRECTORY
from penstock.overlay.commit.version_build import mounted_directory
from penstock.overlay.discard import Restore
from penstock.overlay.outcomes import ChangeLine, DiscardLine
from penstock.overlay.tables.interface import ReadTables
from penstock.overlay.tables.meta import Origin
from penstock.overlay.tree.change_list import Line, status
from penstock.overlay.tree.lower import Lower
from penstock.overlay.tree.namespace import Namespace
from penstock.repo.read.snapshot import Snapshot

__all__ = ["discard_line", "list_changes"]


def list_changes(
    tables: ReadTables, origin: Origin, sequence: int, version: Snapshot, *, every: bool
) -> Iterator[ChangeLine]:
    """Yield what changed after a sequence, in tree order."""
    view = Namespace(tables, Lower(origin.lower, tables, version.load, origin.metadata))
    for line in status(tables, view, sequence, _committed(origin, version), version.load, every=every):
        yield _told(line)


def discard_line(each: Restore) -> DiscardLine:
    """Return what is told of a path that is put back."""
    return DiscardLine(
        "restored" if each.entry is not None else "removed",
        display_path(each.path),
        each.entry is not None and each.entry.kind is Kind.DIRECTORY,
    )


def _committed(origin: Origin, version: Snapshot) -> NodeRef:
    entry = mounted_directory(origin.manifest, origin.subdir, version)
    return entry.directory if entry is not None and entry.directory is not None else EMPTY_DIRECTORY


def _told(line: Line) -> ChangeLine:
    return ChangeLine(
        line.kind,
        display_path(line.path),
        display_path(line.old) if line.old is not None else None,
        line.is_directory,
        line.modified,
        line.old_size,
        line.size,
    )
