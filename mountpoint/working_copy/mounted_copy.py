"""The working copy of a mount: its daemon is asked. Also a read-only mount's, which can be asked and refreshed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from penstock.errors import UsageError
from penstock.mountpoint.control_client import ask, follow
from penstock.mountpoint.control_messages import (
    ChangesRequest,
    CheckRequest,
    CommitRequest,
    DiscardRequest,
    RefreshRequest,
    Request,
    StatusRequest,
)
from penstock.mountpoint.mount_records import MountRecord
from penstock.mountpoint.mount_status import MountStatus
from penstock.overlay.commit.commit_options import CommitOptions
from penstock.overlay.outcomes import ChangeLine, CheckReport, CommitReport, DiscardLine, Finding, RefreshReport
from penstock.progress import SILENT, Progress

__all__ = ["MountedCopy"]

_T = TypeVar("_T")


class MountedCopy:
    """A `WorkingCopy`. Errors as of `control_client.ask`, beside those of the work."""

    def __init__(self, directory: str, record: MountRecord) -> None:
        self._directory = directory
        self._record = record

    def status(self) -> MountStatus:
        """Say how the mount is doing."""
        return ask(self._directory, StatusRequest(), MountStatus)

    def changes(self, *, every: bool = False) -> Iterator[ChangeLine]:
        """Yield what changed since the last commit."""
        self._check_writable()
        return follow(self._directory, ChangesRequest(every), ChangeLine, None)

    def commit(self, options: CommitOptions, progress: Progress) -> CommitReport:
        """Have it committed; the mount goes on meanwhile."""
        self._check_writable()
        report: CommitReport = self._done(CommitRequest(options), object, CommitReport, _ignored, progress)
        return report

    def discard(self, paths: Sequence[str] = (), *, dry_run: bool = False) -> list[DiscardLine]:
        """Have paths put back."""
        self._check_writable()
        lines: list[DiscardLine] = []
        self._done(DiscardRequest(list(paths), dry_run), DiscardLine, None, lines.append)
        return lines

    def refresh(self, *, rebase: bool = False) -> RefreshReport:
        """Have it moved to what its handle names now."""
        report: RefreshReport = self._done(RefreshRequest(rebase), object, RefreshReport, _ignored)
        return report

    def check(self, line: Callable[[Finding], None]) -> CheckReport:
        """Have its overlay looked through."""
        self._check_writable()
        report: CheckReport = self._done(CheckRequest(), Finding, CheckReport, line)
        return report

    def _done(
        self,
        request: Request,
        line: type[_T],
        result: Any,
        told: Callable[[_T], object],
        progress: Progress = SILENT,
    ) -> Any:
        job = follow(self._directory, request, line, result, progress)
        while True:
            try:
                told(next(job))
            except StopIteration as end:
                return end.value

    def _check_writable(self) -> None:
        if self._record.overlay is None:
            raise UsageError(
                f"the mount at {self._record.mountpoint} is read-only",
                why="nothing can have been changed in it",
                fix=f"penstock mount --writable {self._record.handle} DIR",
            )


def _ignored(line: object) -> None:
    """Such a job has no lines."""
