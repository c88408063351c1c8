"""What an overlay differs in from the version that it was last committed to, and that version from the newest one.

Blocking; used by `version_commands` in threads, and by `commit` for overlays that nobody has mounted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from penstock.errors import ConflictError
from penstock.manifest.diff import Change
from penstock.manifest.entry import NodeRef, display_path
from penstock.manifest.update import EMPTY_DIRECTORY
from penstock.overlay.commit.recovery import moved, others
from penstock.overlay.commit.version_build import mounted_directory
from penstock.overlay.tables.interface import ReadTables
from penstock.overlay.tables.meta import Origin
from penstock.overlay.tree.change_list import Line, status
from penstock.overlay.tree.lower import Lower
from penstock.overlay.tree.namespace import Namespace
from penstock.repo.read.snapshot import Snapshot

__all__ = ["Newer", "list_changes", "newest"]


class Newer(NamedTuple):
    """The version that a handle names now: the origin of an overlay that is moved to it, and what differs there."""

    origin: Origin
    changes: Sequence[Change]


def list_changes(
    tables: ReadTables, origin: Origin, sequence: int, version: Snapshot, *, every: bool
) -> Iterator[dict[str, Any]]:
    """Yield what changed after a sequence, in tree order, as JSON has it: see `overlay.status.Line`."""
    view = Namespace(tables, Lower(origin.lower, tables, version.load, origin.metadata))
    for line in status(tables, view, sequence, _committed(origin, version), version.load, every=every):
        yield _as_json(line)


def newest(origin: Origin, version: Snapshot) -> Newer | None:
    """Return what the origin's ref names by now; None: what it did. NotFoundError: nothing any more.

    ConflictError: it has no directory any more where the mount is.
    """
    repository = version.repository
    found = repository.resolve(origin.ref)
    if found.commit is None or found.commit == origin.commit:
        return None  # a version that is named by its hash stays what it is
    manifest = repository.manifest(found.top_hash)
    top = mounted_directory(manifest, origin.subdir, version)
    if top is None or top.directory is None:
        raise ConflictError(
            f"there is no directory {origin.subdir!r} any more",
            why=f"others removed it from {origin.ref!r}",
            fix="The mount stays at its version: mount another directory, or commit to another branch.",
        )
    changes = others(origin, origin.manifest, manifest, version)
    return Newer(moved(origin, origin.ref, found.commit, manifest, version), changes)


def _committed(origin: Origin, version: Snapshot) -> NodeRef:
    entry = mounted_directory(origin.manifest, origin.subdir, version)
    return entry.directory if entry is not None and entry.directory is not None else EMPTY_DIRECTORY


def _as_json(line: Line) -> dict[str, Any]:
    return {
        "kind": line.kind,
        "path": display_path(line.path),
        "old": display_path(line.old) if line.old is not None else None,
        "directory": line.is_directory,
        "modified": line.modified,
        "old_size": line.old_size,
        "size": line.size,
    }
