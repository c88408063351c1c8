"""Work of a mount that takes longer than a question may: a commit, a refresh. One at a time, in the background.

Who started it asks again and again how far it is (`controlling.follow`); when nobody does any more, it goes on all the
same, or is cancelled where that was asked for. Runs on the event loop.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Awaitable, Callable

import trio

from penstock.errors import ConflictError, NotFoundError, PenstockError

from .control import Arguments

__all__ = ["Job", "Jobs"]

_log = logging.getLogger(__name__)
_KEPT = 16


class Job:
    """One piece of work.

    `progress` is what it says of itself: numbers by name, written by any thread.

    `cancelled`: it is to end at the next point where nothing is half-done.
    """

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.progress: dict[str, int] = {}
        self.cancelled = False
        self.done = False
        self.result: object = None
        self.error: PenstockError | None = None


class Jobs:
    """The work of one mount."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._numbers = itertools.count(1)
        self._jobs: dict[int, Job] = {}

    def start(self, name: str, work: Callable[[Job], Awaitable[object]]) -> dict[str, object]:
        """Begin; return what `state` wants. ConflictError: something else is under way."""
        running = next((job for job in self._jobs.values() if not job.done), None)
        if running is not None:
            raise ConflictError(
                f"the mount is busy with a {running.name}",
                why="one is done at a time",
                fix="Try again when it is over.",
            )
        while len(self._jobs) >= _KEPT:
            del self._jobs[next(iter(self._jobs))]
        job = Job(name, next(self._numbers))
        self._jobs[job.number] = job
        self._nursery.start_soon(self._run, job, work)
        return {"job": job.number}

    async def _run(self, job: Job, work: Callable[[Job], Awaitable[object]]) -> None:
        try:
            job.result = await work(job)
        except PenstockError as error:
            job.error = error
        except Exception as error:  # noqa: BLE001  # one job fails, the mount lives on
            _log.error("a %s failed", job.name, exc_info=error)
            job.error = PenstockError(f"the {job.name} failed", why=f"{type(error).__name__}: {error}")
        finally:
            job.done = True

    async def state(self, arguments: Arguments) -> dict[str, object]:
        """Say how far a job is, or what came of it. Raises what it failed with."""
        job = self._job(arguments)
        if job.error is not None:
            raise job.error
        return {"done": job.done, "progress": dict(job.progress), "result": job.result}

    async def cancel(self, arguments: Arguments) -> dict[str, object]:
        """Have a job end at the next point where nothing is half-done."""
        job = self._job(arguments)
        job.cancelled = True
        return {"done": job.done}

    def _job(self, arguments: Arguments) -> Job:
        number = arguments.get("job")
        job = self._jobs.get(number) if isinstance(number, int) else None
        if job is None:
            raise NotFoundError(f"this mount knows no job {number!r}", why="its serving process may have been replaced")
        return job
