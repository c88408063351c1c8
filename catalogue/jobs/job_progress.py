"""How far a job is, as one number: the part of the stage that it is in, between the bounds that its step has."""

from __future__ import annotations

from penstock.progress import Stage, Unit

from .running_job import RunningJob

__all__ = ["JobProgress"]


class _Stage:
    def __init__(self, inner: Stage, owner: JobProgress, total: int | None) -> None:
        self._inner = inner
        self._owner = owner
        self._total = total
        self._done = 0

    def advance(self, amount: int = 1, /) -> None:
        self._inner.advance(amount)
        self._done += amount  # of two threads one may be lost: it is shown, and nothing hangs on it
        if self._total:
            self._owner.reach(self._done / self._total)

    def total(self, amount: int, /) -> None:
        self._inner.total(amount)
        self._total = amount


class JobProgress:
    """A `Progress` of one step of a job, which is the part from `begin` to `end` of all of it."""

    is_shown = True

    def __init__(self, running: RunningJob, begin: float = 0.0, end: float = 1.0) -> None:
        self._running = running
        self._begin = begin
        self._end = end

    def stage(self, name: str, /, *, total: int | None = None, unit: Unit = "bytes") -> Stage:
        """Begin a stage. Once the job is not wanted any more, to advance it raises CancelledError."""
        return _Stage(self._running.meter.stage(name, total=total, unit=unit), self, total)

    def reach(self, fraction: float) -> None:
        """Say that so much of the step is done; it never goes back."""
        now = self._begin + (self._end - self._begin) * min(1.0, fraction)
        self._running.fraction = max(self._running.fraction, now)
