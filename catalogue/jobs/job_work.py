"""What does a job of any kind: looks up its data set, reads what is asked for, and hands it to its kind.

**Invariant:** each kind may be ended at any point and begun again, by another process: rows have names that are made of
the job's, so that what was published and not noted is found.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from penstock.catalogue.datasets.bucket_catalogue import BucketCatalogue, BucketCatalogues, named_hash
from penstock.catalogue.datasets.dataset_rows import DatasetRows
from penstock.catalogue.datasets.private_data import add_private_data
from penstock.catalogue.datasets.private_spec import parse_spec
from penstock.catalogue.state.database import Database
from penstock.catalogue.state.job_table import NotedJob
from penstock.catalogue.state.upload_table import UploadTable
from penstock.errors import NotFoundError, UnreadableError

from .additions import add_uploads
from .job_progress import JobProgress
from .job_requests import AddRequest, IndexRequest, IndexResult, PrivateRequest, PrivateResult, ReencodeRequest
from .job_workers import JobFailedError, JobWorkers
from .reencoding import reencode
from .running_job import RunningJob

__all__ = ["ADD", "INDEX", "PRIVATE", "REENCODE", "make_workers"]

REENCODE, PRIVATE, ADD, INDEX = "re-encode", "private data", "add", "index"
_FORGET = 60.0

T = TypeVar("T")


def make_workers(catalogues: BucketCatalogues, database: Database, count: int = 2) -> JobWorkers:
    """Return workers for the jobs of some buckets, which begin with `start`."""
    uploads = UploadTable(database)

    def work(running: RunningJob) -> bytes:
        job = running.job
        found, name = catalogues.find(job.dataset)
        if job.kind == REENCODE:
            request = _read(job, ReencodeRequest)
            return reencode(running, DatasetRows(found, name, request.author), request)
        if job.kind == ADD:
            added = _read(job, AddRequest)
            return add_uploads(running, DatasetRows(found, name, added.author), added, uploads)
        if job.kind == INDEX:
            return _indexed(running, found, name, _read(job, IndexRequest))
        private = _read(job, PrivateRequest)
        return _registered(running, DatasetRows(found, name, private.author), catalogues, private)

    return JobWorkers(database, work, _knower(catalogues), count)


def _read(job: NotedJob, kind: type[T]) -> T:
    return msgspec.json.decode(job.request, type=kind)


def _knower(catalogues: BucketCatalogues) -> Callable[[NotedJob], bool]:
    """Return what says whether a job is of these buckets; what is of none is looked for again after a minute."""
    foreign: dict[str, float] = {}

    def knows(job: NotedJob) -> bool:
        if job.kind not in (REENCODE, PRIVATE, ADD, INDEX) or foreign.get(job.dataset, 0.0) > time.monotonic():
            return False
        try:
            catalogues.find(job.dataset)
        except NotFoundError:
            foreign[job.dataset] = time.monotonic() + _FORGET
            return False
        return True

    return knows


def _indexed(running: RunningJob, found: BucketCatalogue, name: str, request: IndexRequest) -> bytes:
    rows = DatasetRows(found, name, request.author)
    done = rows.index(exact=request.exact, progress=JobProgress(running))
    return msgspec.json.encode(IndexResult(done.added, done.unknown, done.top_hash))


def _registered(running: RunningJob, rows: DatasetRows, catalogues: BucketCatalogues, request: PrivateRequest) -> bytes:
    job = running.job
    spec = parse_spec(request.spec)
    try:
        report = add_private_data(
            rows,
            catalogues.settings,
            request.integration,
            spec,
            ignore_errors=request.ignore_errors,
            named=lambda place: named_hash("registered", str(job.id), repr(job.created), place),
            progress=JobProgress(running),
        )
    except UnreadableError as error:
        told = (each.partition(": ") for each in error.candidates)
        errors = {place: why for place, _, why in told}
        raise JobFailedError(error.what, msgspec.json.encode(PrivateResult(errors=errors))) from error
    return msgspec.json.encode(PrivateResult(report.added, report.present, dict(report.errors), report.top_hash))
