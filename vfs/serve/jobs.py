"""Work of a mount that takes longer than a question may: a commit, a refresh. One at a time, in the background.

Who started it asks again and again how far it is (`control_client.follow`). When the process that did is gone, or asks
for it, the job is cancelled: it ends where nothing is half-done. Runs on the event loop.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
import trio

from penstock.errors import CancelledError, ConflictError, NotFoundError, PenstockError
from penstock.mountpoint.control_messages import CancelRequest, JobStarted, JobState, JobStateRequest
from penstock.progress import ProgressMeter
from penstock.vfs.source.workers import Workers

__all__ = ["Job", "Jobs", "blocking", "wait_for_takers"]

_log = logging.getLogger(__name__)
_KEPT = 16
_MOST_LINES = 4096
_MOST_WAITING = 16384
_PATIENCE = 60.0
_T = TypeVar("_T")


class Job:
    """One piece of work.

    `progress` is what it says of itself, in any thread; `cancel` of it ends the job where nothing is half-done.
    `lines` are results that are handed out as they come: whoever asks next takes them away.
    """

    def __init__(self, name: str, number: int, *, looks: bool) -> None:
        self.name = name
        self.looks = looks
        self.number = number
        self.progress = ProgressMeter()
        self.lines: deque[object] = deque()
        self.done = False
        self.result: object = None
        self.error: PenstockError | None = None


class Jobs:
    """The work of one mount. `explain` says what an OSError is to whoever waits."""

    def __init__(self, nursery: trio.Nursery, explain: Callable[[OSError], PenstockError] | None = None) -> None:
        self._nursery = nursery
        self._explain = explain
        self._numbers = itertools.count(1)
        self._jobs: dict[int, Job] = {}

    @property
    def busy(self) -> str:
        """The name of the job under way that changes something; empty when there is none."""
        return next((job.name for job in self._jobs.values() if not job.done and not job.looks), "")

    def start(
        self, name: str, work: Callable[[Job], Awaitable[object]], *, client: int = 0, looks: bool = False
    ) -> JobStarted:
        """Begin. ConflictError: something else is under way. `looks`: it changes nothing.

        `client` is the process that wants it, 0 when that cannot be seen, or it is the mount itself.
        """
        running = self.busy
        if running and not looks:
            raise ConflictError(
                f"the mount is busy with a {running}",
                why="one is done at a time",
                fix="Try again when it is over.",
            )
        for number in [number for number, job in self._jobs.items() if job.done][:-_KEPT]:
            del self._jobs[number]
        job = Job(name, next(self._numbers), looks=looks)
        self._jobs[job.number] = job
        self._nursery.start_soon(self._run, job, work, client)
        return JobStarted(job.number)

    async def _run(self, job: Job, work: Callable[[Job], Awaitable[object]], client: int) -> None:
        async with trio.open_nursery() as watching:
            if client:
                watching.start_soon(_cancel_with, client, job)
            await self._work(job, work)
            watching.cancel_scope.cancel()

    async def _work(self, job: Job, work: Callable[[Job], Awaitable[object]]) -> None:
        try:
            job.result = await work(job)
        except CancelledError as error:
            _log.info("a %s was cancelled", job.name)
            job.error = error
        except PenstockError as error:
            job.error = error
        except OSError as error:
            _log.error("a %s failed: %s", job.name, error)
            job.error = (
                self._explain(error) if self._explain else PenstockError(f"the {job.name} failed", why=str(error))
            )
        except Exception as error:  # noqa: BLE001  # one job fails, the mount lives on
            _log.error("a %s failed", job.name, exc_info=error)
            job.error = PenstockError(f"the {job.name} failed", why=f"{type(error).__name__}: {error}")
        finally:
            job.done = True

    async def state(self, request: JobStateRequest, _: int) -> JobState:
        """Say how far a job is, or what came of it. Raises what it failed with."""
        job = self._job(request.job)
        if job.error is not None:
            raise job.error
        done = job.done  # before the lines: what comes after them is not lost
        lines = [job.lines.popleft() for _ in range(min(len(job.lines), _MOST_LINES))]
        done = done and not job.lines
        return JobState(done, job.progress.states(), msgspec.to_builtins(lines), msgspec.to_builtins(job.result))

    async def cancel(self, request: CancelRequest, _: int) -> JobState:
        """Have a job end at the next point where nothing is half-done."""
        job = self._job(request.job)
        job.progress.cancel()
        return JobState(job.done, job.progress.states(), [])

    def _job(self, number: int) -> Job:
        job = self._jobs.get(number)
        if job is None:
            raise NotFoundError(f"this mount knows no job {number}", why="its serving process may have been replaced")
        return job


async def _cancel_with(client: int, job: Job) -> None:
    """Cancel a job when the process that wants it has ended."""
    try:
        ending = os.pidfd_open(client)
    except ProcessLookupError:  # it has ended already
        job.progress.cancel()
        return
    except OSError as error:
        _log.warning("whether process %d still waits cannot be seen: %s", client, error)
        return
    try:
        await trio.lowlevel.wait_readable(ending)
        _log.info("process %d has gone, which wanted a %s", client, job.name)
        job.progress.cancel()
    finally:
        os.close(ending)


async def blocking(workers: Workers, job: Job, call: Callable[[], _T]) -> _T:
    """Return what a call returns that blocks. When a job is cancelled from above, the call is told, and waited for."""
    failure: Exception | None = None
    ended = False

    async def tell_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            if not ended:
                job.progress.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell_when_cancelled)
        with trio.CancelScope(shield=True):
            try:
                return await workers.run(call)
            except Exception as error:  # noqa: BLE001  # it goes out below: a nursery would wrap it
                failure = error
            finally:
                ended = True
                nursery.cancel_scope.cancel()
    assert failure is not None
    raise failure


def wait_for_takers(job: Job) -> None:
    """Hold up a thread whose lines nobody takes. CancelledError: for a minute, or nobody wants them any more."""
    until = time.monotonic() + _PATIENCE
    while len(job.lines) > _MOST_WAITING:
        if time.monotonic() > until:
            job.progress.cancel()
        job.progress.check()
        time.sleep(0.01)
    job.progress.check()
