"""What the work of a job is told with: how far it is, what was done so far, and whether it is still wanted."""

from __future__ import annotations

from collections.abc import Callable

from penstock.catalogue.state.job_table import NotedJob
from penstock.progress import ProgressMeter

__all__ = ["RunningJob"]


class RunningJob:
    """A job that somebody works on. `folder` is for files that are needed meanwhile, and deleted after."""

    def __init__(self, job: NotedJob, folder: str, note: Callable[[bytes], None]) -> None:
        self.job = job
        self.folder = folder
        self.meter = ProgressMeter()
        self.fraction = job.progress
        self._note = note

    def check(self) -> None:
        """Raise CancelledError when the work is not wanted any more."""
        self.meter.check()

    def note(self, result: bytes) -> None:
        """Note what is done, so that it is not done again. AccessError: somebody else is at it by now."""
        self._note(result)
