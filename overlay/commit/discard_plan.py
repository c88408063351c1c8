"""What puts paths of an overlay back to the last commit: the plan, which is made before anything is changed."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.manifest.entry import split_path
from penstock.manifest.update import EMPTY_DIRECTORY
from penstock.overlay.discard import Restore, plan_discard
from penstock.overlay.tables.interface import ReadTables
from penstock.overlay.tables.meta import Origin
from penstock.overlay.tree.changes import Changes
from penstock.overlay.tree.lower import Lower
from penstock.overlay.tree.namespace import Namespace
from penstock.repo.read.snapshot import Snapshot

from .version_build import mounted_directory

__all__ = ["plan_of"]


def plan_of(
    tables: ReadTables, origin: Origin, sequence: int, version: Snapshot, paths: Sequence[str]
) -> list[Restore]:
    """Return what puts back what was changed at some paths, or at all, after a sequence. Blocking.

    NotFoundError: nothing has changed at a path.
    """
    load = version.load
    view = Namespace(tables, Lower(origin.lower, tables, load, origin.metadata))
    top = mounted_directory(origin.manifest, origin.subdir, version)
    committed = top.directory if top is not None and top.directory is not None else EMPTY_DIRECTORY
    changes = Changes(tables, view, sequence, committed, load, renames=True)
    return plan_discard(changes, [split_path(path) for path in paths] or [()], origin.metadata)
