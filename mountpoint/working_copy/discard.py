"""Give up what was changed in a mount, or in the overlay of one that is gone: what is put back, and the caller's end.

A mount that is there is asked to do it (`version_commands`). Needs neither pyfuse3 nor trio.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from penstock.manifest.entry import Kind, display_path, split_path
from penstock.manifest.update import EMPTY_DIRECTORY
from penstock.mountpoint.control_client import follow
from penstock.overlay.commit.detached import discard_detached
from penstock.overlay.commit.version_build import mounted_directory
from penstock.overlay.discard import Restore, plan_discard
from penstock.overlay.tables.interface import ReadTables
from penstock.overlay.tables.meta import Origin
from penstock.overlay.tree.changes import Changes
from penstock.overlay.tree.lower import Lower
from penstock.overlay.tree.namespace import Namespace
from penstock.repo.read.snapshot import Snapshot
from penstock.repo.settings.settings import Settings

from .commit import detached_overlay, is_mounted

__all__ = ["discard", "plan_of", "restored_line"]


def discard(
    directory: str,
    settings: Settings,
    paths: Sequence[str],
    line: Callable[[dict[str, Any]], None],
    *,
    dry_run: bool = False,
) -> None:
    """Put paths back to the last commit, everything when there are none; `line` is given each (`restored_line`).

    NotFoundError: nothing changed at a path, or `directory` is no mount's; ConflictError: a path cannot come back,
    for the directory that it was in is gone: nothing was changed then.
    """
    if is_mounted(directory):
        follow(directory, "discard", line=line, paths=list(paths), dry_run=dry_run)
        return
    with detached_overlay(directory, settings) as (overlay, version):
        assert overlay.origin is not None  # one without is refused
        with overlay.records.snapshot() as reader:
            plan = plan_of(reader, overlay.origin, overlay.counters.committed, version, paths)
        if not dry_run:
            discard_detached(overlay, version, plan)
        for each in plan:
            line(restored_line(each))


def plan_of(
    tables: ReadTables, origin: Origin, sequence: int, version: Snapshot, paths: Sequence[str]
) -> list[Restore]:
    """Return what puts back what was changed at some paths, or at all, after a sequence. Blocking; see `discard`."""
    load = version.load
    view = Namespace(tables, Lower(origin.lower, tables, load, origin.metadata))
    top = mounted_directory(origin.manifest, origin.subdir, version)
    committed = top.directory if top is not None and top.directory is not None else EMPTY_DIRECTORY
    changes = Changes(tables, view, sequence, committed, load, renames=True)
    return plan_discard(changes, [split_path(path) for path in paths] or [()], origin.metadata)


def restored_line(each: Restore) -> dict[str, Any]:
    """Return what is done at a path as JSON has it: ``restored`` to what the version has, or ``removed``."""
    return {
        "kind": "restored" if each.entry is not None else "removed",
        "path": display_path(each.path),
        "directory": each.entry is not None and each.entry.kind is Kind.DIRECTORY,
    }
