"""Long work: re-encoding, registering data where it lies, adding what was uploaded. Begun here, and asked about."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Body, Query, Request, Response

from penstock.catalogue.datasets.dataset_rows import DatasetRows
from penstock.catalogue.datasets.private_data import integrations
from penstock.catalogue.datasets.private_spec import parse_spec
from penstock.catalogue.jobs.job_requests import (
    AddRequest,
    IndexRequest,
    PrivateRequest,
    ReencodeRequest,
    ReencodeResult,
)
from penstock.catalogue.jobs.job_work import ADD, INDEX, PRIVATE, REENCODE
from penstock.catalogue.orm.dataset import CloudIntegration, DataRow, DatasetScope
from penstock.catalogue.state.caller import Caller
from penstock.catalogue.state.job_table import JobStatus, NotedJob
from penstock.errors import AccessError, NotFoundError, UsageError

from .answers import json_answer
from .callers import Asking
from .context import ServerContext, context_of
from .routes_datasets import author_of, opened
from .routes_rows import rows_of

__all__ = ["router", "shown_job"]

router = APIRouter(prefix="/api", tags=["jobs"])

_SIGNED_SECONDS = 3600.0


@router.get("/integrations")
def list_integrations(request: Request, asking: Asking) -> Response:
    """Return the remotes of the server that the caller may register data from."""
    asking.require(DatasetScope.WRITE, asking.dataset)
    return json_answer({"integrations": _allowed(context_of(request), asking)})


def _allowed(context: ServerContext, asking: Caller) -> list[CloudIntegration]:
    """Return the remotes that the caller may register from: an admin of all from any, others where that is said."""
    found = integrations(context.catalogues.settings)
    is_admin = asking.is_admin and not asking.dataset
    return [each for each in found if is_admin or each.id in context.integrations]


@router.post("/datasets/{dataset}/private-data")
def add_private_data(
    request: Request,
    asking: Asking,
    dataset: str,
    integration: Annotated[str, Body(max_length=300)],
    spec: Annotated[dict[str, Any], Body()],
    ignore_errors: Annotated[bool, Body()] = False,
) -> Response:
    """Begin to register data where it lies; the answer has the number of the task."""
    context = context_of(request)
    found, name = opened(context, asking, dataset, DatasetScope.WRITE)
    if integration not in {each.id for each in _allowed(context, asking)}:
        raise AccessError(
            f"no integration {integration[:100]!r} for this key",
            fix="get_cloud_integrations() lists those that it may use; an admin may use all that the server has.",
        )
    parse_spec(spec)
    body = msgspec.json.encode(PrivateRequest(integration, spec, ignore_errors, author_of(asking)))
    return _submitted(context, asking, PRIVATE, found.hash_of(name), body)


@router.post("/datasets/{dataset}/re-encode")
def re_encode(
    request: Request,
    asking: Asking,
    dataset: str,
    data_hashes: Annotated[list[str], Body(embed=True, max_length=10_000)],
) -> Response:
    """Begin to re-encode videos; rows that the dataset does not have are named and ignored."""
    context = context_of(request)
    found, name = opened(context, asking, dataset, DatasetScope.WRITE)
    rows = rows_of(request, asking, dataset, DatasetScope.WRITE)
    wanted = list(dict.fromkeys(data_hashes))
    there = rows.find_many(wanted)
    videos = tuple(uid for uid in wanted if uid in there)
    body = msgspec.json.encode(ReencodeRequest(videos, author_of(asking)))
    ignored = [uid for uid in wanted if uid not in there]
    return _submitted(context, asking, REENCODE, found.hash_of(name), body, ignored=ignored)


@router.post("/datasets/{dataset}/index")
def index(request: Request, asking: Asking, dataset: str, exact: Annotated[bool, Body(embed=True)] = False) -> Response:
    """Begin to make rows of files that are none yet; `exact`: videos are decoded, and their frames counted."""
    context = context_of(request)
    found, name = opened(context, asking, dataset, DatasetScope.WRITE)
    body = msgspec.json.encode(IndexRequest(exact, author_of(asking)))
    return _submitted(context, asking, INDEX, found.hash_of(name), body)


@router.post("/datasets/{dataset}/additions")
def add_uploads(
    request: Request, asking: Asking, dataset: str, addition: Annotated[dict[str, Any], Body()]
) -> Response:
    """Begin to make rows, or a commit, of what was uploaded: `AddRequest`. The same files again are the same task."""
    context = context_of(request)
    found, name = opened(context, asking, dataset, DatasetScope.WRITE)
    hash_ = found.hash_of(name)
    try:
        wanted = msgspec.convert({**addition, "author": author_of(asking)}, AddRequest)
    except msgspec.ValidationError as error:
        raise UsageError("this cannot be added", why=str(error), fix="See AddRequest in docs/CATALOGUE.md.") from error
    if not wanted.files and not wanted.deleted:
        raise UsageError("nothing is to be added or deleted", fix="Upload files first.")
    for each in wanted.files:
        if context.uploads.find(each.upload, asking.name).dataset != hash_:
            raise NotFoundError(f"no upload {each.upload[:100]!r} for this dataset")
    body = msgspec.json.encode(wanted)
    once = ",".join(each.upload for each in wanted.files)
    return _submitted(context, asking, ADD, hash_, body, once=f"{ADD} {once}" if once else "")


def _submitted(
    context: ServerContext, asking: Caller, kind: str, dataset: str, body: bytes, *, once: str = "", **more: object
) -> Response:
    number = context.workers.table.submit(kind, asking.name, dataset, body, once=once)
    context.workers.wake()
    return json_answer({"task": number, **more}, 202)


def _own_job(context: ServerContext, asking: Caller, number: int) -> NotedJob:
    """Return a job that the caller may see. NotFoundError: there is none, or it is somebody else's."""
    job = context.workers.table.find(number)
    if job.owner != asking.name and not (asking.is_admin and asking.dataset in ("", job.dataset)):
        raise NotFoundError(f"no task {number}", fix="`penstock job list` shows those that there are.")
    return job


@router.get("/tasks")
def list_tasks(request: Request, asking: Asking, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
    """Return the newest tasks of the caller; an admin of all sees all."""
    context = context_of(request)
    every = asking.is_admin and not asking.dataset
    found = context.workers.table.list(None if every else asking.name, limit=limit)
    return json_answer({"tasks": [shown_job(each, None) for each in found]})


@router.get("/tasks/{task}")
def show_task(request: Request, asking: Asking, task: int) -> Response:
    """Return how a task is doing, and what came of it."""
    context = context_of(request)
    return json_answer(shown_job(_own_job(context, asking, task), context))


@router.delete("/tasks/{task}")
def cancel_task(request: Request, asking: Asking, task: int) -> Response:
    """Have a task end."""
    context = context_of(request)
    context.workers.table.cancel(_own_job(context, asking, task).id)
    return Response(status_code=204)


def shown_job(job: NotedJob, context: ServerContext | None) -> dict[str, Any]:
    """Return a job as it is told; with a context, videos that were made have addresses that can be read for an hour."""
    shown: dict[str, Any] = {
        "task": job.id,
        "kind": job.kind,
        "dataset": job.dataset,
        "status": job.status.value,
        "progress": job.progress,
        "error": job.error,
        "created": job.created,
        "updated": job.updated,
        "result": msgspec.json.decode(job.result) if job.result else None,
    }
    if context is not None and job.kind == REENCODE and job.status is not JobStatus.SUBMITTED and job.result:
        found, name = context.catalogues.find(job.dataset)
        result = msgspec.json.decode(job.result, type=ReencodeResult)
        rows = DatasetRows(found, name).find_many([made.data_hash for made in result.done.values()])
        shown["result"] = {
            "videos": [
                {
                    "source": source,
                    "data_hash": made.data_hash,
                    "bucket_path": f"{found.bucket}/{name}/{made.path}",
                    "signed_url": _signed(context, job.dataset, rows.get(made.data_hash)),
                }
                for source, made in result.done.items()
            ],
            "errors": result.errors,
        }
    return shown


def _signed(context: ServerContext, dataset: str, row: DataRow | None) -> str | None:
    """Return an address of a row's file as it is now; None: there is no such row any more."""
    if row is None:
        return None
    token = context.secret.sign("file", (dataset, row.path, row.content_hash), _SIGNED_SECONDS)
    return f"{context.address}/signed/{token}/{quote(row.path.rpartition('/')[2])}"
