"""The working copy that nobody has mounted: its overlay is opened, in this process, for as long as a call lasts.

A commit that landed though its process died is settled first, whatever is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TypeVar

from penstock.errors import NotFoundError
from penstock.mountpoint.mount_status import CopyStatus
from penstock.overlay.commit.commit_options import CommitOptions
from penstock.overlay.commit.steps import (
    OpenOverlay,
    Steps,
    commit_steps,
    discard_steps,
    recovery_steps,
    refresh_steps,
    run_steps,
)
from penstock.overlay.disk import disk_told
from penstock.overlay.outcomes import ChangeLine, CheckReport, CommitReport, DiscardLine, Finding, RefreshReport
from penstock.progress import Progress
from penstock.repo.read.snapshot import open_snapshot
from penstock.repo.settings.settings import Settings

from .change_lines import discard_line, list_changes
from .overlay_check import check_overlay
from .overlay_directory import open_overlay, overlay_of, pin_of

__all__ = ["DetachedCopy", "open_detached"]

_T = TypeVar("_T")


class DetachedCopy:
    """A `WorkingCopy`. ConflictError: somebody has the overlay open."""

    def __init__(self, directory: str, settings: Settings) -> None:
        """Find the overlay of a mountpoint, or in a directory. NotFoundError: there is none."""
        self._path = overlay_of(directory)
        self._settings = settings

    def status(self) -> CopyStatus:
        """Say where it stands."""
        with open_detached(self._path, self._settings) as opened:
            origin = opened.overlay.origin
            assert origin is not None  # one without is refused
            return CopyStatus(
                origin.handle,
                origin.url,
                origin.dataset,
                origin.manifest.top_hash.hex(),
                origin.commit.hex() if origin.commit is not None else None,
                self._path,
            )

    def changes(self, *, every: bool = False) -> Iterator[ChangeLine]:
        """Yield what changed since the last commit."""
        with open_detached(self._path, self._settings) as opened, opened.overlay.records.snapshot() as reader:
            overlay = opened.overlay
            assert overlay.origin is not None  # one without is refused
            yield from list_changes(reader, overlay.origin, overlay.counters.committed, opened.version, every=every)

    def commit(self, options: CommitOptions, progress: Progress) -> CommitReport:
        """Commit it."""
        return self._run(lambda opened: commit_steps(opened, self._settings, options, progress))

    def discard(self, paths: Sequence[str] = (), *, dry_run: bool = False) -> list[DiscardLine]:
        """Put paths back."""
        plan = self._run(lambda opened: discard_steps(opened, paths, dry_run=dry_run))
        return list(map(discard_line, plan))

    def refresh(self, *, rebase: bool = False) -> RefreshReport:
        """Move it to what its handle names now."""
        return self._run(lambda opened: refresh_steps(opened, rebase=rebase))

    def check(self, line: Callable[[Finding], None]) -> CheckReport:
        """Look through it, without changing anything in it."""
        return check_overlay(self._path, self._settings, line)

    def _run(self, steps: Callable[[OpenOverlay], Steps[_T]]) -> _T:
        with open_detached(self._path, self._settings) as opened:
            result = run_steps(steps(opened), opened)
            opened.overlay.records.checkpoint()
            return result


@contextmanager
def open_detached(path: str, settings: Settings) -> Iterator[OpenOverlay]:
    """Open an overlay that nobody has mounted, and the version that it is over. NotFoundError: it is of nothing."""
    with disk_told(path), closing(open_overlay(path)) as overlay:
        origin = overlay.origin
        if origin is None:
            raise NotFoundError(f"the overlay in {path} is empty", why="nothing was mounted with it yet")
        with closing(open_snapshot(origin.handle, settings, pin=pin_of(origin))) as version:
            editor = overlay.editor(_nobody, umask=0o022, epoch_ns=0)
            opened = OpenOverlay(overlay, editor, version, _nobody)
            run_steps(recovery_steps(opened), opened)
            yield opened


def _nobody(inode: int) -> bool:
    """Whether somebody has it open: there is no mount."""
    del inode
    return False
