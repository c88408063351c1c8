"""A workspace: what was changed in a writable mount, while it is mounted and after.

Sizes are bytes, hashes 64 hex digits, paths relative to the mount.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from penstock.api.handles import Handle, parse_handle
from penstock.api.settings import Settings
from penstock.manifest.entry import display_path, split_path
from penstock.mountpoint.mount_status import CopyStatus, MountStatus
from penstock.mountpoint.working_copy.working_copy import WorkingCopy, open_working_copy
from penstock.overlay.commit.commit_options import CommitOptions
from penstock.overlay.outcomes import ChangeLine, CommitReport, DiscardLine, Finding, PathConflict, SpecialFile
from penstock.progress import SILENT, Progress
from penstock.repo.write.authorship import default_author

if TYPE_CHECKING:
    from .conflicting_path import ConflictingPath

__all__ = [
    "ChangeLine",
    "CommitResult",
    "CopyStatus",
    "DiscardLine",
    "Finding",
    "MountStatus",
    "OverlayCheck",
    "PathConflict",
    "RefreshResult",
    "RescueReport",
    "SpecialFile",
    "Workspace",
    "WorkspaceConflicts",
]

_SIDES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What a commit did, or would do. `commit` is None when nothing landed.

    `changed`: whether there was anything to commit. If not, `branched` and `tagged` tell whether the version that the
    workspace stands at was made the branch, and given the tag, that were asked for; `commit` is its id then.
    `files` and `bytes` were read; what follows went to the bucket (of a dry run: would, as far as data is concerned).
    `merged_with`: the commit of others that it was merged with, if any. `times`, `times_dropped`: of so many paths
    nothing but the modification time was set, which was recorded, or was not. `skipped`: named pipes and sockets, which
    no version holds. `risk`: empty, or why the bucket may lose versions. Of a dry run, `conflicts` are the first of
    `conflict_count` paths that others have changed as well, for which the commit would be refused.
    """

    handle: str
    branch: str
    top_hash: str
    commit: str | None
    merged_with: str | None
    changed: bool
    branched: bool
    tagged: bool
    files: int
    bytes: int
    bytes_uploaded: int
    objects_uploaded: int
    metadata_bytes_uploaded: int
    metadata_objects_uploaded: int
    times: int
    times_dropped: int
    skipped: tuple[SpecialFile, ...]
    risk: str
    conflicts: tuple[PathConflict, ...] = ()
    conflict_count: int = 0


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """Where a workspace stands after a refresh; `changes` counts the paths that came."""

    handle: str
    top_hash: str
    commit: str | None
    moved: bool
    changes: int


@dataclass(frozen=True, slots=True)
class OverlayCheck:
    """Which directory of changes was looked through, how many records in it are whole, and what is damaged."""

    directory: str
    records: int
    damaged: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class RescueReport:
    """How many paths of which directory of changes were taken out, and how many are damaged or were left there."""

    directory: str
    taken: int
    left: int


@dataclass(frozen=True, slots=True)
class WorkspaceConflicts:
    """The first `paths` of `count` that are in conflict with the version `theirs` of `dataset`, on `branch`."""

    paths: tuple[ConflictingPath, ...]
    count: int
    branch: str
    theirs: str
    dataset: str


class Workspace:
    """What was changed in a writable mount: at its mountpoint, also when it is unmounted, or in its overlay's folder.

    A handle: nothing is opened or asked before a method needs it. NotFoundError, from the methods: there is none.
    UsageError: the mount is read-only (but for `status` and `refresh`). ConflictError: the overlay is in use elsewhere.

    >>> import penstock
    >>> workspace = penstock.Workspace("/nowhere")
    >>> workspace.status()
    Traceback (most recent call last):
    penstock.errors.NotFoundError: nothing is mounted at /nowhere: and no writable mount has left changes there...
    """

    __slots__ = ("directory", "settings")

    def __init__(self, directory: str | os.PathLike[str], settings: Settings | None = None) -> None:
        self.directory = os.fspath(directory)
        self.settings = settings or Settings.load()

    def status(self) -> CopyStatus:
        """Return where it stands; of a mount, how that is doing (`MountStatus`)."""
        return self._copy.status()

    def changes(self, path: str = "", *, every: bool = False) -> Iterator[ChangeLine]:
        """Yield what changed at a path and below it since the last commit, in tree order.

        `kind` is A (added), M (modified), D (deleted) or R (renamed from `old`). `every`: also what lies in added
        directories.
        """
        wanted = display_path(split_path(path))
        for line in self._copy.changes(every=every):
            places = [place for place in (line.path, line.old) if place is not None]
            if not wanted or any(place == wanted or place.startswith(f"{wanted}/") for place in places):
                yield line

    def commit(
        self,
        message: str = "",
        *,
        branch: str | None = None,
        tag: str | None = None,
        author: str | None = None,
        ours: Sequence[str] = (),
        theirs: Sequence[str] = (),
        times: bool | None = None,
        dry_run: bool = False,
        progress: Progress = SILENT,
    ) -> CommitResult:
        """Make what was changed the next version of a branch, by default of the one that is mounted.

        Only blocks that changed are sent. A mount stays in use, and goes on at the new version. When others have moved
        the branch, what they changed is merged in; where both changed the same path, MergeConflictError names it, and
        nothing has changed. `ours` are paths (``/`` for all) at and below which what was changed here is kept then,
        `theirs` those where what others have is. `times`: modification times that were set are recorded where nothing
        else was changed, too; by default as the settings say.
        """
        options = CommitOptions(
            author or default_author(),
            message,
            branch,
            tag,
            tuple(ours),
            tuple(theirs),
            self.settings.commit_times if times is None else times,
            dry_run,
        )
        return _commit_result(self._copy.commit(options, progress))

    def conflicts(self, *, branch: str | None = None) -> WorkspaceConflicts:
        """Return what a commit now would be refused for: paths that others have changed on the branch meanwhile.

        Of the first twenty both sides are looked at; nothing is changed. Errors as `commit`.
        """
        from penstock.api.packages.package import Package

        from .conflicting_path import compare_sides

        status, report = self.status(), self.commit(branch=branch, dry_run=True)
        here = parse_handle(status.handle)
        dataset = Handle(here.bucket, here.dataset)
        if not report.conflict_count or report.merged_with is None:
            return WorkspaceConflicts((), 0, report.branch, str(dataset), str(dataset))
        theirs = replace(here, ref=report.merged_with, subdir="")
        directory = self.directory if isinstance(status, MountStatus) else None
        shown = report.conflicts[:_SIDES_SHOWN]
        with Package(theirs, self.settings) as package:
            paths = tuple(compare_sides(each, directory, here.subdir, package, report.branch) for each in shown)
        named = replace(theirs, ref=report.merged_with[:12])
        return WorkspaceConflicts(paths, report.conflict_count, report.branch, str(named), str(dataset))

    def discard(self, paths: Sequence[str] = (), *, dry_run: bool = False) -> list[DiscardLine]:
        """Put paths back to the last commit, everything when there are none; return what is done at each.

        NotFoundError: nothing has changed at a path. ConflictError: a path cannot come back, for the directory that it
        was in is gone. Nothing was changed then.
        """
        return self._copy.discard(paths, dry_run=dry_run)

    def refresh(self, *, rebase: bool = False) -> RefreshResult:
        """Have the mount show what its handle names now. `rebase`: also with changes, where nobody else has the same.

        ConflictError: it has changes, or others have the same; it stays where it is.
        """
        report = self._copy.refresh(rebase=rebase)
        commit = report.commit.hex() if report.commit is not None else None
        return RefreshResult(report.handle, report.top_hash.hex(), commit, report.moved, report.changes)

    def check(self, told: Callable[[Finding], None] = lambda _: None) -> OverlayCheck:
        """Check every record and every byte of what was changed, by their checksums; `told` of what is damaged.

        Nothing is changed.
        """
        damaged: list[Finding] = []

        def take(found: Finding) -> None:
            damaged.append(found)
            told(found)

        report = self._copy.check(take)
        return OverlayCheck(report.directory, report.records, tuple(damaged))

    def rescue(self, to: str | os.PathLike[str], told: Callable[[Finding], None] = lambda _: None) -> RescueReport:
        """Write what was changed, and is whole, to a directory, which is made or empty; `told` of each path.

        The changes stay as they are. What has lost its place is in ``lost+found`` there. ConflictError: it is mounted.
        """
        taken = left = 0

        def take(found: Finding) -> None:
            nonlocal taken, left
            taken += found.kind == "taken"
            left += found.kind in ("left", "damaged")
            told(found)

        from penstock.mountpoint.working_copy.overlay_check import (
            rescue_overlay,
        )  # works on an overlay: see open_working_copy

        directory = rescue_overlay(self.directory, os.fspath(to), self.settings, take)
        return RescueReport(directory, taken, left)

    @property
    def _copy(self) -> WorkingCopy:
        return open_working_copy(self.directory, self.settings)

    def __repr__(self) -> str:
        return f"Workspace({self.directory!r})"


def _commit_result(report: CommitReport) -> CommitResult:
    return CommitResult(
        handle=report.handle,
        branch=report.branch,
        top_hash=report.top_hash.hex(),
        commit=report.commit.hex() if report.commit is not None else None,
        merged_with=report.merged_with.hex() if report.merged_with is not None else None,
        changed=report.changed,
        branched=report.branched,
        tagged=report.tagged,
        files=report.files,
        bytes=report.bytes,
        bytes_uploaded=report.bytes_uploaded,
        objects_uploaded=report.objects_uploaded,
        metadata_bytes_uploaded=report.metadata_bytes_uploaded,
        metadata_objects_uploaded=report.metadata_objects_uploaded,
        times=report.times,
        times_dropped=report.times_dropped,
        skipped=tuple(report.skipped),
        risk=report.risk,
        conflicts=tuple(report.conflicts),
        conflict_count=report.conflict_count,
    )
