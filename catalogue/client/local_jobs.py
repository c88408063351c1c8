"""Long work on a bucket without a server: in a thread of this process, with a table of jobs in the user's state.

A process that ends before its jobs do leaves them: whoever asks for one next goes on with it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from penstock.catalogue.datasets.bucket_catalogue import BucketCatalogues
from penstock.catalogue.jobs.job_requests import ReencodeResult
from penstock.catalogue.jobs.job_work import REENCODE, make_workers
from penstock.catalogue.jobs.job_workers import JobWorkers
from penstock.catalogue.state.database import Database
from penstock.catalogue.state.job_table import JobStatus, JobTable, NotedJob

__all__ = ["LocalJobs"]


class LocalJobs:
    """The jobs of this user on some buckets. `database` opens the state that their table is in."""

    def __init__(self, catalogues: BucketCatalogues, database: Callable[[], Database]) -> None:
        self._catalogues = catalogues
        self._database = database
        self._owner = f"uid {os.getuid()}"
        self._threads: dict[int, tuple[threading.Thread, JobWorkers]] = {}
        self._lock = threading.Lock()

    def submit(self, kind: str, dataset: str, request: bytes) -> int:
        """Begin a job, and return its number."""
        number = JobTable(self._database()).submit(kind, self._owner, dataset, request)
        self._work_on(number)
        return number

    def _work_on(self, number: int) -> None:
        database = self._database()
        with self._lock:
            known = self._threads.get(number)
            if known is None or not known[0].is_alive():
                workers = make_workers(self._catalogues, database)
                thread = threading.Thread(target=workers.run_one, args=(number,), name=f"penstock-job-{number}")
                thread.daemon = True  # what it has not done is gone on with by whoever asks next
                self._threads[number] = thread, workers
                thread.start()

    def find(self, number: int) -> Mapping[str, Any]:
        """Return how a job is doing. NotFoundError: there is none."""
        return self._shown(JobTable(self._database()).find(number))

    def go_on(self, number: int) -> Mapping[str, Any]:
        """Return how a job is doing, and go on with it where nobody is at it. NotFoundError: there is none."""
        job = JobTable(self._database()).find(number)
        if job.status is JobStatus.SUBMITTED:
            self._work_on(number)
        return self._shown(job)

    def list(self) -> list[Mapping[str, Any]]:
        """Return the newest jobs of this user."""
        return [self._shown(each) for each in JobTable(self._database()).list(self._owner)]

    def cancel(self, number: int) -> None:
        """Have a job end."""
        JobTable(self._database()).cancel(number)

    def _shown(self, job: NotedJob) -> Mapping[str, Any]:
        result: Any = msgspec.json.decode(job.result) if job.result else None
        if job.kind == REENCODE and job.result:
            made = msgspec.json.decode(job.result, type=ReencodeResult)
            found, name = self._catalogues.find(job.dataset)
            result = {
                "videos": [
                    {
                        "source": source,
                        "data_hash": each.data_hash,
                        "bucket_path": f"{found.bucket}/{name}/{each.path}",
                        "signed_url": None,
                    }
                    for source, each in made.done.items()
                ],
                "errors": made.errors,
            }
        return {
            "task": job.id,
            "kind": job.kind,
            "dataset": job.dataset,
            "status": job.status.value,
            "progress": job.progress,
            "error": job.error,
            "created": job.created,
            "updated": job.updated,
            "result": result,
        }

    def close(self) -> None:
        """Leave what this process works on to whoever asks next."""
        for thread, workers in list(self._threads.values()):
            workers.close()
            thread.join()
