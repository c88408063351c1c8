"""Uploaded files become rows, or a commit: one version for all that a job adds."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from penstock.catalogue.datasets.bucket_catalogue import named_hash
from penstock.catalogue.datasets.dataset_rows import DatasetRows
from penstock.catalogue.datasets.given_files import GivenFile
from penstock.catalogue.orm.dataset import DataRow, DataType
from penstock.catalogue.state.upload_table import ReceivedFile, UploadTable
from penstock.errors import UsageError

from .job_progress import JobProgress
from .job_requests import AddRequest, AddResult
from .running_job import RunningJob

__all__ = ["add_uploads"]

_KINDS = {
    "video": (DataType.VIDEO,),
    "image": (DataType.IMAGE,),
    "file": (DataType.VIDEO, DataType.IMAGE),
}


def add_uploads(running: RunningJob, rows: DatasetRows, request: AddRequest, uploads: UploadTable) -> bytes:
    """Add what was uploaded. ConflictError: it is not complete. IntegrityError: it is damaged. UnreadableError.

    The files that were uploaded are deleted when it is done.
    """
    job = running.job

    def named(number: int) -> str:
        return named_hash("added", str(job.id), repr(job.created), str(number))

    made = rows.find_many([named(number) for number in range(len(request.files))]) if request.kind != "commit" else {}
    if made:
        return _result(rows, list(made.values()))
    found = [uploads.find(each.upload, job.owner) for each in request.files]
    checking = JobProgress(running, 0.0, 0.3).stage("checking", total=sum(each.size for each in found))
    for each in found:
        uploads.check(each, checking.advance)
    progress = JobProgress(running, 0.3, 1.0)
    if request.kind == "commit":
        result = msgspec.json.encode(AddResult((), _commit(rows, request, found, progress)))
    else:
        result = _result(rows, _added(rows, request, found, named, progress))
    for each in found:
        uploads.remove(each)
    return result


def _result(rows: DatasetRows, added: list[DataRow]) -> bytes:
    with rows.package() as package:
        return msgspec.json.encode(AddResult(tuple(each.uid for each in added), package.top_hash))


def _added(
    rows: DatasetRows,
    request: AddRequest,
    found: list[ReceivedFile],
    named: Callable[[int], str],
    progress: JobProgress,
) -> list[DataRow]:
    given = [
        GivenFile(upload.path, said.title, said.client_metadata, upload.name, said.key)
        for upload, said in zip(found, request.files, strict=True)
    ]
    if request.kind == "image_group":
        return rows.add_image_groups(given, title=request.title, folder=request.folder, named=named, progress=progress)
    if request.kind == "dicom_series":
        return rows.add_dicom_series(given, title=request.title, folder=request.folder, named=named, progress=progress)
    if request.kind == "folder":
        for each in given:
            if not each.key:
                raise UsageError(f"{each.name!r} has no key", fix="Say where it is to be in the version.")
        return rows.add_folder(given, folder=request.folder, named=named, progress=progress)
    if len(given) != 1:
        raise UsageError(f"{len(given)} files as one {request.kind}", fix="Add them one by one.")
    kinds = _KINDS[request.kind]
    return [rows.add_file(given[0], *kinds, folder=request.folder, uid=named(0), progress=progress)]


def _commit(rows: DatasetRows, request: AddRequest, found: list[ReceivedFile], progress: JobProgress) -> str:
    for upload, said in zip(found, request.files, strict=True):
        if not said.key:
            raise UsageError(f"{upload.name!r} has no key", fix="Say where it is to be in the version.")
    files = {said.key: upload.path for upload, said in zip(found, request.files, strict=True)}
    return rows.commit(files, request.deleted, request.message or "Commit over HTTP", progress)
