"""Changing a dataset on the page: changes are staged one by one, looked at, and committed as one version."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse

from penstock.api.handles import Handle
from penstock.catalogue.orm.dataset import DatasetScope
from penstock.catalogue.page.content.shown_text import read_key, written_key
from penstock.catalogue.server.answers import error_answer, json_answer
from penstock.catalogue.server.routes_datasets import author_of
from penstock.errors import ConflictError, MergeConflictError, NotFoundError, PenstockError, UsageError

from .page_route import PageRoute, Visiting
from .page_template import render
from .place import Place, place_of, values_of
from .routes_browse import dataset_values
from .staged_changes import StagedChange
from .visitor import Visitor

__all__ = ["router"]

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_MOST_SAMPLED = 1_000_000
_MOST_WALKED = 1_000_000
"""Entries of a version that a sample is taken of at once."""
_Key = Annotated[str, Form(max_length=20_000)]


def _branch_of(place: Place) -> str:
    branch = place.branch
    if branch is None:
        raise UsageError(f"{place.at!r} is no branch", fix="Changes go to a branch: choose one above.")
    return branch


def _written(request: Request, visitor: Visitor, dataset: str) -> Place:
    return place_of(request, visitor, dataset, DatasetScope.WRITE)


def _stage(place: Place, steps: list[StagedChange]) -> None:
    place.pages.staging.add(place.visitor.caller.name, place.hash, _branch_of(place), place.package, steps)


@router.post("/dataset/{dataset}/stage")
def stage(
    request: Request,
    visitor: Visiting,
    dataset: str,
    action: Annotated[Literal["delete", "move", "field"], Form()],
    keys: Annotated[list[str], Form(alias="key", max_length=1000)] = [],  # noqa: B006  # FastAPI copies it
    folder: _Key = "",
    field: Annotated[str, Form(max_length=200)] = "",
    value: Annotated[str, Form(max_length=100_000)] = "",
) -> Response:
    """Stage that entries are deleted, moved into a directory, or have another value in a field of their metadata."""
    place = _written(request, visitor, dataset)
    if not keys:
        raise UsageError("nothing is selected", fix="Select something first.")
    target = written_key(folder.strip().strip("/"))
    if action == "delete":
        _stage(place, [StagedChange("delete", key) for key in keys])
    elif action == "field":
        if not field.strip():
            raise UsageError("no field is named", fix="Name the field that is to be set.")
        _stage(place, [_with_field(place, key, field.strip(), value.strip()) for key in keys])
    else:
        names = [key.rpartition("/")[2] for key in keys]
        to = [f"{target}/{name}" if target else name for name in names]  # names are written as keys are
        _stage(place, [StagedChange("move", key, other) for key, other in zip(keys, to, strict=True)])
    return RedirectResponse(place.url(key=place.key), 303)


@router.post("/dataset/{dataset}/stage-entry")
def stage_entry(
    request: Request,
    visitor: Visiting,
    dataset: str,
    action: Annotated[Literal["delete", "move", "metadata"], Form()],
    other: _Key = "",
    metadata: Annotated[str, Form(max_length=1 << 20)] = "",
) -> Response:
    """Stage that an entry is deleted, gets another key, or other metadata."""
    place = _written(request, visitor, dataset)
    if action == "delete":
        _stage(place, [StagedChange("delete", written_key(place.key))])
    elif action == "move":
        _stage(place, [StagedChange("move", written_key(place.key), written_key(other.strip().strip("/")))])
    else:
        _stage(place, [StagedChange("metadata", written_key(place.key), metadata=_metadata(metadata))])
    return RedirectResponse(place.url("changes"), 303)


def _with_field(place: Place, key: str, field: str, text: str) -> StagedChange:
    """Return the metadata of an entry, as it is or as it was staged, with one field changed; of no text, without it."""
    known = place.pages.staging.find(place.visitor.caller.name, place.hash)
    steps = known.steps if known is not None else ()
    staged = [step.metadata or {} for step in steps if step.kind == "metadata" and step.key == key]
    metadata = dict(staged[-1] if staged else place.package.get_metadata(read_key(key)))
    metadata.pop(field, None)
    if text:
        try:
            metadata[field] = json.loads(text)
        except (ValueError, RecursionError):
            metadata[field] = text
    return StagedChange("metadata", key, metadata=metadata)


def _metadata(text: str) -> dict[str, object]:
    if not text.strip():
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError("the metadata is no JSON", why=str(error), fix='Write an object: {"label": "cat"}') from error
    if not isinstance(found, dict):
        raise UsageError("the metadata is no object", fix='Write an object: {"label": "cat"}')
    return found


@router.post("/dataset/{dataset}/upload")
async def upload(request: Request, visitor: Visiting, dataset: str) -> Response:
    """Take a piece of a file; with the last one, the file is staged."""
    body = await request.body()

    def taken() -> str:
        place = _written(request, visitor, dataset)
        values = values_of(request)
        try:
            at, total = int(values.get("offset", "")), int(values.get("total", ""))
        except ValueError as error:
            raise UsageError("a piece says where it is in its file", why=str(error)) from error
        name = values.get("file", "")
        staging, branch = place.pages.staging, _branch_of(place)
        who = visitor.caller.name
        return staging.upload(who, place.hash, branch, place.package, place.key, body, at=at, total=total, name=name)

    return json_answer({"file": await run_in_threadpool(taken)})


@router.get("/dataset/{dataset}/changes")
def changes(request: Request, visitor: Visiting, dataset: str) -> Response:
    """Show what is staged."""
    return _changes_page(request, visitor, _written(request, visitor, dataset))


def _changes_page(
    request: Request, visitor: Visitor, place: Place, *, error: PenstockError | None = None, message: str = ""
) -> Response:
    found = place.pages.staging.find(visitor.caller.name, place.hash)
    candidates = error.candidates if isinstance(error, MergeConflictError) else ()
    return render(
        request,
        "changes.html",
        visitor,
        **dataset_values(place),
        changes=found,
        error=error,
        candidates=candidates,
        message=message,
        status=error_answer(error).status_code if error is not None else 200,
    )


@router.post("/dataset/{dataset}/unstage")
def unstage(request: Request, visitor: Visiting, dataset: str, number: Annotated[int, Form()]) -> Response:
    """Take one change back; of a negative number, all of them."""
    place = _written(request, visitor, dataset)
    if number < 0:
        place.pages.staging.discard(visitor.caller.name, place.hash)
    else:
        place.pages.staging.remove(visitor.caller.name, place.hash, number)
    return RedirectResponse(place.url("changes"), 303)


@router.post("/dataset/{dataset}/commit")
def commit(
    request: Request,
    visitor: Visiting,
    dataset: str,
    message: Annotated[str, Form(max_length=10_000)] = "",
    keep: Annotated[Literal["", "ours", "theirs"], Form()] = "",
) -> Response:
    """Make a version of what is staged."""
    place = _written(request, visitor, dataset)
    staging, who = place.pages.staging, visitor.caller.name
    found = staging.find(who, place.hash)
    if found is None:
        raise UsageError("nothing is staged", fix="Change something first.")
    base = place.pages.versions.find(place.catalogue, place.name, found.base)
    target = Handle(place.catalogue.bucket, place.name, found.branch)
    try:
        made = staging.commit(
            who, place.hash, target, base, message=message, author=author_of(visitor.caller), conflicts=keep or None
        )
    except (ConflictError, NotFoundError, UsageError) as error:  # nothing has changed, and all is staged still
        return _changes_page(request, visitor, place, error=error, message=message)
    return RedirectResponse(place.url("diff", at=made.commit or made.top_hash), 303)


@router.post("/dataset/{dataset}/sample")
def sample(
    request: Request,
    visitor: Visiting,
    dataset: str,
    name: Annotated[str, Form(max_length=128)],
    count: Annotated[int, Form(ge=1, le=_MOST_SAMPLED)],
    seed: Annotated[int, Form(ge=0, le=1 << 31)] = 0,
    where: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Make some files of the version, chosen by chance, a dataset of their own; no data is copied."""
    place = _written(request, visitor, dataset)
    visitor.caller.require_admin()
    if len(place.package) > _MOST_WALKED:
        line = place.command("sample", "@", "--n", str(count), "--to", f"{place.catalogue.bucket}/{name}")
        raise UsageError("this version is too large to be gone through while a page waits", fix=f"Run: {line}")
    if name in place.catalogue.names():
        raise ConflictError(f"there is a dataset {name!r} already", fix="Give the sample another name.")
    place.package.sample(
        count,
        Handle(place.catalogue.bucket, name),
        seed=seed,
        prefix=place.key,
        where=where.strip() or None,
        message=f"A sample of {place.name}",
        author=author_of(visitor.caller) or None,
    )
    return RedirectResponse(f"/dataset/{place.catalogue.hash_of(name)}", 303)
