"""Commit what was changed in a mount, or in the overlay of a mount that is no longer there: the caller's end.

A mount that is there is asked to do it (`version_commands`), for the overlay is its daemon's. Needs neither pyfuse3 nor
trio.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from penstock.errors import NotFoundError, UsageError
from penstock.mountpoint.control_client import follow
from penstock.mountpoint.known_mounts import record_at
from penstock.overlay.commit.detached import commit_detached, recover_detached
from penstock.overlay.commit.overlay_commit import CommitReport
from penstock.overlay.disk import disk_told
from penstock.overlay.overlay import Overlay
from penstock.overlay.tables.meta import Origin
from penstock.progress import Progress
from penstock.repo.history.side_choice import choice
from penstock.repo.read.snapshot import Snapshot, open_snapshot
from penstock.repo.settings.settings import Settings
from penstock.repo.write.publish import Authorship

from .changes import list_changes
from .overlay_directory import open_overlay, overlay_directory, pin_of

__all__ = ["CommitOptions", "changes", "commit", "detached_overlay", "fields_of", "is_mounted", "is_served", "refresh"]


@dataclass(frozen=True, slots=True)
class CommitOptions:
    """`branch`: where it lands, by default where the mount is from. `ours`, `theirs`: paths that settle conflicts."""

    branch: str | None = None
    tag: str | None = None
    ours: Sequence[str] = ()
    theirs: Sequence[str] = ()
    dry_run: bool = False


def commit(
    directory: str, settings: Settings, authorship: Authorship, options: CommitOptions, progress: Progress
) -> dict[str, Any]:
    """Commit; return the fields of `CommitReport`, hashes in hex.

    `directory`: a mountpoint, also one where nothing is mounted any more, or an overlay's directory. NotFoundError: it
    is none; UsageError: its mount is read-only; all that `overlay.commit` raises.
    """
    if is_mounted(directory):
        return follow(
            directory,
            "commit",
            progress,
            author=authorship.author,
            message=authorship.message,
            branch=options.branch,
            tag=options.tag,
            ours=list(options.ours),
            theirs=list(options.theirs),
            dry_run=options.dry_run,
        )
    with detached_overlay(directory, settings) as (overlay, version):
        report = commit_detached(
            overlay,
            version,
            settings,
            authorship,
            progress,
            branch=options.branch,
            tag=options.tag,
            choose=choice(ours=options.theirs, theirs=options.ours),  # as in `version_commands`
            dry_run=options.dry_run,
        )
    return fields_of(report)


def changes(directory: str, settings: Settings, line: Callable[[dict[str, Any]], None], *, every: bool = False) -> None:
    """Give `line` what changed since the last commit, one by one (`changes.list_changes`). Errors as `commit`."""
    if is_mounted(directory):
        follow(directory, "changes", line=line, every=every)
        return
    with detached_overlay(directory, settings) as (overlay, version), overlay.records.snapshot() as reader:
        assert overlay.origin is not None  # one without is refused
        for each in list_changes(reader, overlay.origin, overlay.counters.committed, version, every=every):
            line(each)


def refresh(directory: str, *, rebase: bool) -> dict[str, Any]:
    """Move a mount to what its handle names now. ConflictError: it has changes, or (`rebase`) others have the same."""
    return follow(directory, "refresh", rebase=rebase)


def fields_of(report: CommitReport) -> dict[str, Any]:
    """Return a report as JSON has it: hashes in hex."""
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in asdict(report).items()}


def is_served(directory: str) -> bool:
    """Whether a daemon serves a mount there. AccessError: there is a mount, and its daemon is not to be found."""
    return record_at(directory) is not None


def is_mounted(directory: str) -> bool:
    """Whether a daemon serves a writable mount there, or has the overlay open that a directory is.

    UsageError: it serves one that is read-only. AccessError: there is a mount, and its daemon is not to be found.
    """
    record = record_at(directory)
    if record is None:
        return False
    if record.overlay is None:
        raise UsageError(
            f"the mount at {record.mountpoint} is read-only",
            why="nothing can have been changed in it",
            fix=f"penstock mount --writable {record.handle} DIR",
        )
    return True


@contextmanager
def detached_overlay(directory: str, settings: Settings) -> Iterator[tuple[Overlay, Snapshot]]:
    """Open the overlay of a mount that is gone, and the version that it is over. NotFoundError: there is none."""
    path = overlay_of(directory)
    with disk_told(path), closing(open_overlay(path)) as overlay:
        origin: Origin | None = overlay.origin
        if origin is None:
            raise NotFoundError(f"the overlay in {path} is empty", why="nothing was mounted with it yet")
        with closing(open_snapshot(origin.handle, settings, pin=pin_of(origin))) as version:
            recover_detached(overlay, version)
            yield overlay, version


def overlay_of(directory: str) -> str:
    """Return the overlay that a mountpoint has, or had, or that a directory is. NotFoundError: there is none."""
    for path in (directory, overlay_directory(os.path.realpath(directory))):
        if os.path.exists(os.path.join(path, "index", "data.mdb")):
            return os.path.abspath(path)
    raise NotFoundError(
        f"nothing is mounted at {directory}",
        why="and no writable mount has left changes there",
        fix="penstock mounts lists what is mounted; name the directory of --overlay-dir, if that was given.",
    )
