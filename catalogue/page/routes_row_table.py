"""The data rows of a dataset as a page: images, videos, groups, series; filtered, sorted, a page at a time."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from penstock.api.handles import DEFAULT_BRANCH
from penstock.catalogue.datasets.dataset_rows import DatasetRows
from penstock.catalogue.jobs.job_requests import IndexRequest, ReencodeRequest
from penstock.catalogue.jobs.job_work import INDEX, REENCODE
from penstock.catalogue.orm.dataset import DataRow, DatasetScope, DataType
from penstock.catalogue.page.content.file_kinds import has_thumbnail
from penstock.catalogue.page.content.shown_text import shell_line
from penstock.catalogue.rows.row_index import ROW_SORTS, RowFilter
from penstock.catalogue.server.context import context_of
from penstock.catalogue.server.routes_datasets import author_of
from penstock.errors import NotFoundError, UsageError

from .page_route import PageRoute, Visiting
from .page_template import render
from .place import Place, place_of, values_of
from .routes_browse import dataset_values

__all__ = ["router"]

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_PAGE = 50
_MOST_WALKED = 1_000_000
"""Entries of a version whose rows are looked for while a page waits, if nobody has looked for them yet."""


@router.get("/dataset/{dataset}/rows")
def rows(request: Request, visitor: Visiting, dataset: str) -> Response:
    """Show a page of the rows that fit, of the branch ``main``."""
    place = place_of(request, visitor, dataset)
    values = values_of(request)
    kind, title, sort = values.get("type", ""), values.get("title", "")[:500], values.get("sort", "") or "path"
    if kind and kind not in {each.value for each in DataType}:
        raise UsageError(f"no kind of row {kind[:50]!r}", fix="Choose one of the list.")
    found = DatasetRows(place.catalogue, place.name)
    line = shell_line("penstock", "rows", place.handle.rpartition(":")[0])
    if not found.is_indexed() and len(place.package) > _MOST_WALKED:
        raise UsageError("the rows of this dataset were not looked up yet", fix=f"It takes a while: run {line} once.")
    like = "%" + title.replace("%", "").replace("_", "") + "%" if title else None
    wanted = RowFilter(DataType(kind) if kind else None, like)
    page = found.page(wanted, sort=sort, limit=_PAGE, cursor=values.get("cursor") or None)
    more = place.url("rows", type=kind, title=title, sort=sort, cursor=page.cursor) if page.cursor else ""
    return render(
        request,
        "rows.html",
        visitor,
        **dataset_values(place),
        rows=[(each, _picture(place, each)) for each in page.rows],
        total=page.total,
        kinds=[each.value for each in DataType],
        sorts=[order for each in ROW_SORTS for order in (each, f"-{each}")],
        wanted_kind=kind,
        wanted_title=title,
        sort=sort,
        more=more,
        line=line,
    )


def _picture(place: Place, row: DataRow) -> str:
    return place.url("picture", at=DEFAULT_BRANCH, key=row.path) if has_thumbnail(row.path) else ""


@router.post("/dataset/{dataset}/re-encode")
def re_encode(request: Request, visitor: Visiting, dataset: str, uid: Annotated[str, Form(max_length=100)]) -> Response:
    """Begin to encode a video again, at a constant rate."""
    place = place_of(request, visitor, dataset, DatasetScope.WRITE)
    row = DatasetRows(place.catalogue, place.name).find(uid)
    body = msgspec.json.encode(ReencodeRequest((row.uid,), author_of(visitor.caller)))
    workers = context_of(request).workers
    workers.table.submit(REENCODE, visitor.caller.name, place.hash, body)
    workers.wake()
    return RedirectResponse("/jobs", 303)


@router.post("/dataset/{dataset}/index")
def index(request: Request, visitor: Visiting, dataset: str) -> Response:
    """Begin to make rows of the files that are none yet."""
    place = place_of(request, visitor, dataset, DatasetScope.WRITE)
    body = msgspec.json.encode(IndexRequest(author=author_of(visitor.caller)))
    workers = context_of(request).workers
    workers.table.submit(INDEX, visitor.caller.name, place.hash, body)
    workers.wake()
    return RedirectResponse("/jobs", 303)


@router.post("/jobs/cancel")
def cancel_job(request: Request, visitor: Visiting, number: Annotated[int, Form()]) -> Response:
    """Have a job end."""
    context, caller = context_of(request), visitor.caller
    job = context.workers.table.find(number)
    if job.owner != caller.name and not (caller.is_admin and caller.dataset in ("", job.dataset)):
        raise NotFoundError(f"no task {number}")
    context.workers.table.cancel(job.id)
    return RedirectResponse("/jobs", 303)
