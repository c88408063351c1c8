"""The workers of a server: a few threads, each with one job at a time, whose lease is kept for as long as that takes.

A worker that is killed with its process leaves a lease that ends; whoever starts a server with the same state goes on.
`close` gives jobs back, so that the next one goes on at once.

**Invariant:** no more jobs are worked on than there are threads. Whatever the work of a job raises, its thread goes on.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from penstock.catalogue.state.database import Database
from penstock.catalogue.state.job_table import LEASE_SECONDS, JobStatus, JobTable, NotedJob
from penstock.errors import CancelledError, PenstockError

from .running_job import RunningJob

__all__ = ["JobFailedError", "JobWorkers"]

_log = logging.getLogger(__name__)

_POLL = 1.0
_LEFT_OVER = 7 * 86400.0

Work = Callable[[RunningJob], bytes]
"""Does a job, and returns its result. CancelledError, JobFailedError, PenstockError."""


class JobFailedError(PenstockError):
    """A job that came to nothing, with a result that says of each part why."""

    def __init__(self, what: str, result: bytes) -> None:
        super().__init__(what)
        self.result = result


class JobWorkers:
    """Works on the jobs of a database that `knows` is true of, `count` at a time."""

    def __init__(self, database: Database, work: Work, knows: Callable[[NotedJob], bool], count: int = 2) -> None:
        self.table = JobTable(database)
        self._work = work
        self._knows = knows
        self._count = count
        self._folder = os.path.join(os.path.dirname(os.path.abspath(database.path)), "work")
        self._name = secrets.token_hex(8)
        self._running: dict[int, RunningJob] = {}
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._wake = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to work."""
        self._clean()
        for number in range(self._count):
            self._threads.append(threading.Thread(target=self._loop, name=f"penstock-job-{number}", daemon=True))
        self._threads.append(threading.Thread(target=self._beat, name="penstock-job-leases", daemon=True))
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Have somebody look for a job now."""
        self._wake.set()

    def run_one(self, number: int) -> None:
        """Work on one job in this thread, if nobody is at it; leases are kept by another one meanwhile."""
        self._clean()
        job = self.table.claim(self._name, self._knows, number)
        if job is not None:
            beat = threading.Thread(target=self._beat, name="penstock-job-leases", daemon=True)
            beat.start()
            try:
                self._run(job)
            finally:
                self._ending.set()
                beat.join()

    def close(self) -> None:
        """Give back what is being worked on, and end."""
        self._ending.set()
        self._wake.set()
        with self._lock:
            for each in self._running.values():
                each.meter.cancel()
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _clean(self) -> None:
        """Delete what workers that were killed have left."""
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        for entry in os.scandir(self._folder):
            if entry.stat(follow_symlinks=False).st_mtime < time.time() - _LEFT_OVER:
                shutil.rmtree(entry.path, ignore_errors=True)

    def _loop(self) -> None:
        while not self._ending.is_set():
            self._wake.clear()
            try:
                job = self.table.claim(self._name, self._knows)
            except PenstockError as error:
                _log.warning("no job can be looked for: %s", error)
                job = None
            if job is None:
                self._wake.wait(_POLL)
            else:
                self._run(job)

    def _run(self, job: NotedJob) -> None:
        with tempfile.TemporaryDirectory(prefix="job-", dir=self._folder) as folder:
            running = RunningJob(job, folder, lambda result: self.table.note(job.id, self._name, result))
            with self._lock:
                self._running[job.id] = running
                if self._ending.is_set():
                    running.meter.cancel()
            try:
                with suppress(PenstockError):  # what another worker has by now is his to end
                    self._finish(job, *self._outcome(running))
            finally:
                with self._lock:
                    del self._running[job.id]

    def _outcome(self, running: RunningJob) -> tuple[JobStatus, bytes | None, str]:
        number = running.job.id
        try:
            return JobStatus.DONE, self._work(running), ""
        except CancelledError:
            if self._ending.is_set() and self.table.is_wanted(number, self._name):
                self.table.release(number, self._name)
                raise
            return JobStatus.ERROR, self.table.find(number).result, "it was cancelled"
        except JobFailedError as error:
            return JobStatus.ERROR, error.result, error.what
        except PenstockError as error:
            said = f"{error.what}: {error.why}" if error.why else error.what
            return JobStatus.ERROR, self.table.find(number).result, said
        except Exception as error:  # noqa: BLE001  # a fault of ours ends this job, and no other
            _log.exception("job %d failed", number)
            return (
                JobStatus.ERROR,
                self.table.find(number).result,
                f"it failed by a fault of ours: {type(error).__name__}",
            )

    def _finish(self, job: NotedJob, status: JobStatus, result: bytes | None, error: str) -> None:
        self.table.finish(job.id, self._name, status, result, error)

    def _beat(self) -> None:
        """Keep the leases of what is being worked on, and end what is not wanted any more."""
        kept: dict[int, tuple[float, float]] = {}
        while not self._ending.wait(_POLL):
            with self._lock:
                running = dict(self._running)
            for number, each in running.items():
                at, fraction = kept.get(number, (0.0, -1.0))
                now = time.monotonic()
                is_due = now - at > LEASE_SECONDS / 3 or abs(each.fraction - fraction) > 0.01
                try:
                    if is_due:
                        is_wanted = self.table.keep(number, self._name, each.fraction)
                        kept[number] = now, each.fraction
                    else:
                        is_wanted = self.table.is_wanted(number, self._name)
                except PenstockError as error:
                    _log.warning("the lease of job %d was not kept: %s", number, error)
                    continue
                if not is_wanted:
                    each.meter.cancel()
            kept = {number: said for number, said in kept.items() if number in running}
