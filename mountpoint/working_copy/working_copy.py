"""A working copy: a mount that can be changed, or the overlay of one that is gone. One protocol, two drivers.

`open_working_copy` finds out which it is: `MountedCopy` asks the daemon of a mount, for the overlay is the daemon's;
`DetachedCopy` opens an overlay that nobody has mounted, for as long as a call lasts. Blocking, any thread. Needs
neither pyfuse3 nor trio.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from penstock.mountpoint.known_mounts import record_at
from penstock.mountpoint.mount_status import CopyStatus
from penstock.overlay.commit.commit_options import CommitOptions
from penstock.overlay.outcomes import ChangeLine, CheckReport, CommitReport, DiscardLine, Finding, RefreshReport
from penstock.progress import Progress
from penstock.repo.settings.settings import Settings

from .mounted_copy import MountedCopy

__all__ = ["WorkingCopy", "open_working_copy"]


class WorkingCopy(Protocol):
    """What can be done about changes, wherever they are.

    Any of it may raise what a commit raises (`overlay_commit.OverlayCommit`); UsageError: the mount is read-only.
    """

    def status(self) -> CopyStatus:
        """Say where it stands; of a mount, how that is doing (`MountStatus`)."""
        ...

    def changes(self, *, every: bool = False) -> Iterator[ChangeLine]:
        """Yield what changed since the last commit, in tree order; `every`: also what lies in added directories."""
        ...

    def commit(self, options: CommitOptions, progress: Progress) -> CommitReport:
        """Make what changed the next version."""
        ...

    def discard(self, paths: Sequence[str] = (), *, dry_run: bool = False) -> list[DiscardLine]:
        """Put paths back to the last commit, everything when there are none; say of each what is done.

        NotFoundError: nothing has changed at a path; ConflictError: a path cannot come back, for the directory that it
        was in is gone. Nothing was changed then.
        """
        ...

    def refresh(self, *, rebase: bool = False) -> RefreshReport:
        """Move to what the handle names now. ConflictError: it has changes, or (`rebase`) others have the same."""
        ...

    def check(self, line: Callable[[Finding], None]) -> CheckReport:
        """Look through all that was changed, by its checksums; `line` is given what is damaged."""
        ...


def open_working_copy(directory: str, settings: Settings) -> WorkingCopy:
    """Return the working copy at a mountpoint, also one where nothing is mounted any more, or in an overlay's folder.

    NotFoundError: there is none. AccessError: there is a mount, and its daemon is not to be found.
    """
    record = record_at(directory)
    if record is not None:
        return MountedCopy(directory, record)
    from .detached_copy import DetachedCopy  # all that works on an overlay, which the daemon of a mount has loaded

    return DetachedCopy(directory, settings)
