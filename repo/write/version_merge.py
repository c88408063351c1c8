"""Merge two versions, trees and metadata; say which conflicts are left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from penstock.errors import MergeConflictError
from penstock.manifest.ahead import LoadNodes, load_ahead
from penstock.manifest.build import keep_metadata
from penstock.manifest.descend import LoadNode
from penstock.manifest.entry import display_path
from penstock.manifest.merge import Choose, Conflict, Deed, Merged, ReadMetadata, Side, merge, merge_metadata
from penstock.manifest.records import Manifest
from penstock.repo.write.node_pack import NodePackWriter

__all__ = ["MergedVersion", "conflict_error", "describe_conflict", "merge_versions"]

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class MergedVersion:
    """A merge: its counts and conflicts, and what it contains; no `manifest` when a conflict is left."""

    manifest: Manifest | None
    merged: Merged


def merge_versions(
    base: Manifest | None,
    ours: Manifest,
    theirs: Manifest,
    load: LoadNode,
    read: ReadMetadata,
    upload: Callable[[str, bytes], None],
    choose: Choose | None,
    load_many: LoadNodes | None = None,
) -> MergedVersion:
    """Merge what theirs changed since `base` into ours; None: they grew from nothing common.

    `upload` is given the node packs that are new, by key, before this returns. `load_many`, if given, fetches what
    differs level by level first, to where `load` finds it.
    """
    if load_many is not None and base is not None:
        load_ahead(base.root, ours.root, load_many, load_many)
        load_ahead(base.root, theirs.root, load_many, load_many)
    sink = NodePackWriter(upload)
    merged = merge(base.root if base is not None else None, ours.root, theirs.root, load, sink, read, choose)
    metadata = merge_metadata(base.metadata if base is not None else b"", ours.metadata, theirs.metadata, read)
    if metadata is None:
        side = merged.settle(Conflict((), Deed.MODIFIED, Deed.MODIFIED), choose)
        metadata = theirs.metadata if side is Side.THEIRS else ours.metadata
    if merged.conflict_count or merged.root is None:
        return MergedVersion(None, merged)
    metadata = keep_metadata(metadata, sink)
    sink.flush()
    return MergedVersion(Manifest(sink.located(merged.root), sink.located_metadata(metadata)), merged)


def describe_conflict(conflict: Conflict, sides: tuple[str, str] = ("in ours", "in theirs")) -> str:
    """Say in one line what both sides did at a path; `sides` says where."""
    path = display_path(conflict.path) or "the version's metadata"
    what = f"{path}: {conflict.ours.value} {sides[0]}, {conflict.theirs.value} {sides[1]}"
    return f"{what} ({display_path(conflict.example)})" if conflict.example else what


def conflict_error(
    merged: Merged, branch: str, dataset: str, fix: str, *, committing: bool = False
) -> MergeConflictError:
    """Return the error that names the paths both sides changed: the first twenty, and how many there are.

    `committing`: one side is what somebody has just changed, to whom "ours" would mean that.
    """
    count = merged.conflict_count
    sides = (f"on {branch}", "here") if committing else ("in ours", "in theirs")
    where = f"here and on {branch}" if committing else "on both sides"
    shown = [describe_conflict(conflict, sides) for conflict in merged.conflicts[:_SHOWN]]
    if count > len(shown):
        shown.append(f"and {count - len(shown)} more")
    return MergeConflictError(
        f"{count} {'path has' if count == 1 else 'paths have'} changed {where}",
        why=f"others have moved branch {branch!r} of {dataset!r} meanwhile"
        if committing
        else f"branch {branch!r} of {dataset!r} has (ours) and what was to be merged into it has (theirs)",
        fix=fix,
        candidates=shown,
    )
