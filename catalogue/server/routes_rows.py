"""Data rows of a dataset: listed, filtered, changed, deleted."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response

from penstock.catalogue.datasets.dataset_rows import DatasetRows
from penstock.catalogue.orm.dataset import DatasetScope, DataType
from penstock.catalogue.rows.row_index import RowFilter
from penstock.catalogue.state.caller import Caller
from penstock.errors import UsageError

from .answers import json_answer
from .callers import Asking
from .context import context_of
from .routes_datasets import author_of, opened

__all__ = ["router", "rows_of"]

router = APIRouter(prefix="/api/datasets/{dataset}", tags=["rows"])


def rows_of(request: Request, asking: Caller, dataset: str, scope: DatasetScope) -> DatasetRows:
    """Return the rows of a dataset that the caller may use so."""
    found, name = opened(context_of(request), asking, dataset, scope)
    return DatasetRows(found, name, author_of(asking))


@router.get("/rows")
def list_rows(
    request: Request,
    asking: Asking,
    dataset: str,
    data_type: Annotated[str | None, Query(max_length=20)] = None,
    title_eq: Annotated[str | None, Query(max_length=1000)] = None,
    title_like: Annotated[str | None, Query(max_length=1000)] = None,
    min_width: Annotated[int | None, Query(ge=0, le=1 << 31)] = None,
    min_height: Annotated[int | None, Query(ge=0, le=1 << 31)] = None,
    min_duration: Annotated[float | None, Query(ge=0)] = None,
    below: Annotated[str | None, Query(max_length=4000)] = None,
    sort: Annotated[str, Query(max_length=20)] = "path",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=10_000)] = None,
) -> Response:
    """Return a page of the rows that fit."""
    try:
        kind = DataType(data_type) if data_type is not None else None
    except ValueError as error:
        known = ", ".join(each.value for each in DataType)
        raise UsageError(f"no kind of row {data_type!r}", fix=f"One of {known}.") from error
    wanted = RowFilter(kind, title_like, title_eq, min_width, min_height, min_duration, below)
    rows = rows_of(request, asking, dataset, DatasetScope.READ)
    return json_answer(rows.page(wanted, sort=sort, limit=limit, cursor=cursor))


@router.get("/rows/{uid}")
def show_row(request: Request, asking: Asking, dataset: str, uid: str) -> Response:
    """Return one row."""
    return json_answer(rows_of(request, asking, dataset, DatasetScope.READ).find(uid))


@router.patch("/rows/{uid}")
def update_row(
    request: Request,
    asking: Asking,
    dataset: str,
    uid: str,
    title: Annotated[str | None, Body(max_length=1000)] = None,
    client_metadata: Annotated[dict[str, Any] | None, Body()] = None,
) -> Response:
    """Change a row's title or metadata, in a new version."""
    rows = rows_of(request, asking, dataset, DatasetScope.WRITE)
    return json_answer(rows.update(uid, title=title, client_metadata=client_metadata))


@router.post("/delete-data")
def delete_data(
    request: Request,
    asking: Asking,
    dataset: str,
    data_hashes: Annotated[list[str], Body(embed=True, max_length=10_000)],
) -> Response:
    """Take rows out, in one version; those that the dataset does not have are named and ignored."""
    gone, foreign = rows_of(request, asking, dataset, DatasetScope.WRITE).delete(data_hashes)
    return json_answer({"deleted": gone, "ignored": foreign})
