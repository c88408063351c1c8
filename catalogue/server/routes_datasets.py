"""Datasets: made, listed, described."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response

from penstock.catalogue.datasets.bucket_catalogue import BucketCatalogue
from penstock.catalogue.datasets.dataset_filter import DatasetFilter, parse_time
from penstock.catalogue.orm.dataset import DatasetInfo, DatasetScope, StorageLocation
from penstock.catalogue.state.caller import Caller
from penstock.errors import AccessError, NotFoundError, UsageError

from .answers import json_answer
from .callers import Asking
from .context import ServerContext, context_of

__all__ = ["opened", "router", "visible_infos"]

router = APIRouter(prefix="/api", tags=["datasets"])

Text = Annotated[str | None, Query(max_length=1000)]


def opened(context: ServerContext, caller: Caller, dataset: str, scope: DatasetScope) -> tuple[BucketCatalogue, str]:
    """Return where a dataset is that the caller may use so. AccessError: not theirs, or not so; NotFoundError."""
    try:
        found, name = context.catalogues.find(dataset)
    except NotFoundError:
        if caller.dataset:  # what there is besides their own is nothing to them
            raise AccessError("this key does not open that dataset") from None
        raise
    caller.require(scope, found.hash_of(name))
    return found, name


def visible_infos(context: ServerContext, caller: Caller) -> list[DatasetInfo]:
    """Return what is said of the datasets that the caller may read."""
    if caller.dataset:
        found, name = opened(context, caller, caller.dataset, DatasetScope.READ)
        return [found.info(name)]
    caller.require(DatasetScope.READ, "")
    return list(context.catalogues.infos())


@router.get("/datasets")
def list_datasets(
    request: Request,
    asking: Asking,
    title_eq: Text = None,
    title_like: Text = None,
    desc_eq: Text = None,
    desc_like: Text = None,
    created_before: Text = None,
    created_after: Text = None,
    edited_before: Text = None,
    edited_after: Text = None,
    sort: Annotated[str, Query(max_length=20)] = "title",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Text = None,
) -> Response:
    """Return a page of the datasets that fit; times are ISO 8601."""
    context = context_of(request)
    wanted = DatasetFilter(
        title_eq,
        title_like,
        desc_eq,
        desc_like,
        *(
            parse_time(each) if each is not None else None
            for each in (created_before, created_after, edited_before, edited_after)
        ),
    )
    page = wanted.page(visible_infos(context, asking), sort, limit, cursor)
    roles = {bucket: int(context.buckets[bucket].role()) for bucket in {each.bucket for each in page.datasets}}
    return json_answer({"datasets": page.datasets, "roles": roles, "cursor": page.cursor})


@router.post("/datasets")
def create_dataset(
    request: Request,
    asking: Asking,
    title: Annotated[str, Body(max_length=1000)],
    storage: Annotated[int | None, Body()] = None,
    description: Annotated[str, Body(max_length=100_000)] = "",
    name: Annotated[str | None, Body(max_length=128)] = None,
    bucket: Annotated[str | None, Body(max_length=300)] = None,
) -> Response:
    """Make a dataset, in the bucket that is named, or the first one of a kind of storage."""
    context = context_of(request)
    asking.require_admin()
    asking.require(DatasetScope.WRITE, "")
    if bucket is not None and bucket not in context.buckets:
        raise NotFoundError(f"no bucket {bucket!r} here")
    found = context.buckets[bucket] if bucket is not None else context.catalogues.catalogue_for(_storage(storage))
    return json_answer(found.create(title, description, name=name, author=author_of(asking)), 201)


def author_of(caller: Caller) -> str:
    """Return how a caller is named as the author of a version; empty: as whoever runs the server."""
    if caller.name == "local":
        return ""
    return f"{caller.title} (key {caller.name})" if caller.title != caller.name else f"key {caller.name}"


def _storage(number: int | None) -> StorageLocation | None:
    try:
        return StorageLocation(number) if number is not None else None
    except ValueError as error:
        kinds = ", ".join(f"{each.value} ({each.name})" for each in StorageLocation)
        raise UsageError(f"no storage location {number}", fix=f"One of {kinds}.") from error


@router.get("/find")
def find_dataset(
    request: Request,
    asking: Asking,
    bucket: Annotated[str, Query(max_length=300)],
    name: Annotated[str, Query(max_length=300)],
) -> Response:
    """Return what is said of one dataset, by its name in a bucket."""
    scope = DatasetScope.READ if DatasetScope.READ in asking.scopes else DatasetScope.WRITE
    context = context_of(request)
    if bucket not in context.buckets and not asking.dataset:
        raise NotFoundError(f"no bucket {bucket!r} here")
    found, known = opened(context, asking, f"{bucket}/{name}", scope)
    return json_answer({"dataset": found.info(known), "user_role": int(found.role())})


@router.get("/datasets/{dataset}")
def show_dataset(request: Request, asking: Asking, dataset: str) -> Response:
    """Return what is said of one dataset."""
    found, name = opened(context_of(request), asking, dataset, DatasetScope.READ)
    return json_answer({"dataset": found.info(name), "user_role": int(found.role())})
